use std::io::{self, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

#[derive(Clone, Copy, Debug)]
pub struct Taken {
    pub time: f64,
    pub cpu: f64,
}

pub fn converse(
    mut client: impl Stream,
    mut server: impl Stream + 'static,
    size: usize,
    count: u32,
) -> Taken {
    let echo = thread::spawn(move || {
        let mut bytes = vec![0; size];
        while read_all(&mut server, &mut bytes) {
            server.write_all(&bytes).unwrap();
        }
    });
    let mut bytes = vec![7; size];
    let (start, cpu) = (Instant::now(), own_cpu());
    for _ in 0..count {
        client.write_all(&bytes).unwrap();
        assert!(read_all(&mut client, &mut bytes), "the other end has gone");
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(count);
    let taken = Taken { time: each(start.elapsed()), cpu: each(own_cpu() - cpu) };
    drop(client);
    echo.join().unwrap();
    taken
}

/// Fills the buffer; returns false at the end of the stream. A socket in a sockmap may wake up without data.
fn read_all(stream: &mut impl Stream, mut bytes: &mut [u8]) -> bool {
    while !bytes.is_empty() {
        match stream.read(bytes) {
            Ok(0) => return false,
            Ok(read) => bytes = &mut bytes[read..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
    }
    true
}

fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
