pub struct Contender<'a> {
    pub name: String,
    pub at: Option<u32>,
    set_up: Box<dyn FnMut() + 'a>,
    sample: Box<dyn FnMut() -> f64 + 'a>,
    tear_down: Box<dyn FnMut() + 'a>,
}

impl<'a> Contender<'a> {
    pub fn new(name: impl Into<String>, sample: impl FnMut() -> f64 + 'a) -> Self {
        let (set_up, tear_down) = (Box::new(|| {}), Box::new(|| {}));
        Self { name: name.into(), at: None, set_up, sample: Box::new(sample), tear_down }
    }

    pub fn at(mut self, size: u32) -> Self {
        self.at = Some(size);
        self
    }

    pub fn set_up(mut self, set_up: impl FnMut() + 'a) -> Self {
        self.set_up = Box::new(set_up);
        self
    }

    pub fn tear_down(mut self, tear_down: impl FnMut() + 'a) -> Self {
        self.tear_down = Box::new(tear_down);
        self
    }
}

#[derive(Clone, Debug)]
pub struct Measured {
    pub name: String,
    pub at: Option<u32>,
    pub samples: Vec<f64>,
}

impl Measured {
    pub fn min(&self) -> f64 {
        part(&self.samples, 0, 1)
    }

    pub fn median(&self) -> f64 {
        part(&self.samples, 1, 2)
    }

    pub fn max(&self) -> f64 {
        part(&self.samples, 1, 1)
    }
}

pub fn part(samples: &[f64], numerator: usize, denominator: usize) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() * numerator / denominator).min(sorted.len() - 1)]
}

/// Measures each contender once per round, so that other load of the machine affects all equally.
pub fn measure(mut contenders: Vec<Contender<'_>>, rounds: usize) -> Vec<Measured> {
    let mut measured: Vec<Measured> = contenders
        .iter()
        .map(|one| Measured { name: one.name.clone(), at: one.at, samples: Vec::new() })
        .collect();
    for _ in 0..rounds {
        for (contender, measured) in contenders.iter_mut().zip(&mut measured) {
            (contender.set_up)();
            measured.samples.push((contender.sample)());
            (contender.tear_down)();
        }
    }
    measured
}
