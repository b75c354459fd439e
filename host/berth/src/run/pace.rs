//! How the controller's clock follows the wall clock: so many simulated seconds in a second, or as fast as it can.

use std::time::{Duration, Instant};

use berth_core::ids::Millis;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Simulated seconds in a second; 0 does not wait.
    speed: f64,
    wall: Instant,
    clock: Millis,
}

impl Pace {
    /// The controller's clock stands at `clock` at the moment `wall`.
    pub(crate) fn new(speed: f64, wall: Instant, clock: Millis) -> Self {
        Self { speed, wall, clock }
    }

    /// How long to wait until the clock may stand at `time`.
    pub(crate) fn wait(&self, time: Millis, wall: Instant) -> Duration {
        if self.speed == 0.0 {
            return Duration::ZERO;
        }
        let due = Duration::from_secs_f64((time.since(self.clock) as f64 / 1000.0 / self.speed).min(1e9));
        due.saturating_sub(wall.saturating_duration_since(self.wall))
    }

    /// Where the clock may stand at the moment `wall`; never before where it began.
    pub(crate) fn now(&self, wall: Instant) -> Millis {
        let passed = wall.saturating_duration_since(self.wall).as_secs_f64() * self.speed;
        self.clock.plus((passed * 1000.0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs_faster_than_the_wall() {
        let wall = Instant::now();
        let pace = Pace::new(60.0, wall, Millis(5000));
        assert_eq!(pace.wait(Millis(65_000), wall), Duration::from_secs(1));
        assert_eq!(pace.wait(Millis(65_000), wall + Duration::from_millis(400)), Duration::from_millis(600));
        assert_eq!(pace.wait(Millis(65_000), wall + Duration::from_secs(9)), Duration::ZERO);
        assert_eq!(pace.wait(Millis(0), wall), Duration::ZERO);
        assert_eq!(pace.now(wall + Duration::from_secs(2)), Millis(125_000));
        assert_eq!(Pace::new(0.0, wall, Millis(0)).wait(Millis(1 << 40), wall), Duration::ZERO);
    }
}
