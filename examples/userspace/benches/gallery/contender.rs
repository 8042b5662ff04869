//! Things that do the same job, measured in turn.

/// One of them: how it is put to work, measured once, and taken away again.
pub struct Contender<'a> {
    /// Its name in results and pictures.
    pub name: String,
    /// What it was given to do, a number of rules for instance: where results have one, they are drawn over it.
    pub at: Option<u32>,
    set_up: Box<dyn FnMut() + 'a>,
    sample: Box<dyn FnMut() -> f64 + 'a>,
    tear_down: Box<dyn FnMut() + 'a>,
}

impl<'a> Contender<'a> {
    /// `sample` measures once, in the unit of the group.
    pub fn new(name: impl Into<String>, sample: impl FnMut() -> f64 + 'a) -> Self {
        let (set_up, tear_down) = (Box::new(|| {}), Box::new(|| {}));
        Self { name: name.into(), at: None, set_up, sample: Box::new(sample), tear_down }
    }

    /// How much it was given to do.
    pub fn at(mut self, size: u32) -> Self {
        self.at = Some(size);
        self
    }

    /// What has to be done before it is measured. It takes no part in the time.
    pub fn set_up(mut self, set_up: impl FnMut() + 'a) -> Self {
        self.set_up = Box::new(set_up);
        self
    }

    /// What has to be done after it, before the next one's turn.
    pub fn tear_down(mut self, tear_down: impl FnMut() + 'a) -> Self {
        self.tear_down = Box::new(tear_down);
        self
    }
}

/// What one was measured to take.
#[derive(Clone, Debug)]
pub struct Measured {
    /// As the contender's.
    pub name: String,
    /// As the contender's.
    pub at: Option<u32>,
    /// One a round, in their order.
    pub samples: Vec<f64>,
}

impl Measured {
    /// The least.
    pub fn min(&self) -> f64 {
        part(&self.samples, 0, 1)
    }

    /// The one in the middle.
    pub fn median(&self) -> f64 {
        part(&self.samples, 1, 2)
    }

    /// The most.
    pub fn max(&self) -> f64 {
        part(&self.samples, 1, 1)
    }
}

/// The sample below which so many of all are: `part(samples, 1, 4)` is the lower quartile.
pub fn part(samples: &[f64], numerator: usize, denominator: usize) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() * numerator / denominator).min(sorted.len() - 1)]
}

/// Measures all of them once a round, so that what else the machine does meets all alike.
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
