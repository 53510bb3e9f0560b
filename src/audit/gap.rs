//! The longest time without a whole answer while one was wanted.

/// Watches the service since the stop.
#[derive(Debug, Default)]
pub(super) struct Gap {
    since: Option<u64>,
    longest: u64,
}

impl Gap {
    /// Somebody wants an answer, or nobody does any more.
    pub(super) fn wanted(&mut self, is_wanted: bool, now: u64) {
        match self.since {
            None if is_wanted => self.since = Some(now),
            Some(since) if !is_wanted => {
                self.longest = self.longest.max(now.saturating_sub(since));
                self.since = None;
            }
            _ => {}
        }
    }

    /// A whole answer came.
    pub(super) fn answered(&mut self, now: u64) {
        if let Some(since) = self.since {
            self.longest = self.longest.max(now.saturating_sub(since));
            self.since = Some(now);
        }
    }

    /// Returns the longest gap so far.
    pub(super) fn longest(&self, now: u64) -> u64 {
        self.longest.max(self.since.map_or(0, |since| now.saturating_sub(since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wanted_time_counts() {
        let mut gap = Gap::default();
        gap.wanted(true, 10);
        gap.answered(15);
        gap.wanted(false, 18);
        gap.answered(90);
        assert_eq!(gap.longest(100), 5);
        gap.wanted(true, 100);
        assert_eq!(gap.longest(130), 30);
        gap.wanted(false, 120);
        assert_eq!(gap.longest(500), 20);
    }
}
