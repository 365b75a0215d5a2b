//! Whether the traffic follows the weight: the canary's share of the requests against the weight
//! that the route gives it.

use std::fmt;

/// Requests that a share is told from. With fewer, one request more or less is a percent or more.
const NEEDED: u64 = 100;

/// Standard deviations that chance may make of it. A fair split is then within the tolerance in more
/// than 99.9 % of all windows (tried out exactly in the tests, for each weight).
const DEVIATIONS: f64 = 4.0;

/// The smallest tolerance, as a share of all requests: gateways balance per worker or connection, and
/// a window's ends cut through requests, so that real splits are not quite as even as coins.
const SMALLEST: f64 = 0.02;

/// What was counted in one window, and how far it may be from the weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Requests that the canary got.
    pub canary: u64,
    /// Requests of both arms.
    pub all: u64,
    /// What the canary should get, in percent.
    pub weight: u8,
    /// How many of the requests may be on the other arm.
    pub tolerance: f64,
}

/// What a window says about the weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Observed {
    /// As near to the weight as chance lets a fair split be.
    Agrees(Share),
    /// Farther off: the gateway does something else than the route says.
    Differs(Share),
    /// Too few requests to tell.
    TooFew { all: u64, need: u64 },
}

impl Share {
    /// Whether there were requests enough for a verdict to rest on.
    pub fn is_enough(&self) -> bool {
        self.all >= NEEDED
    }
}

/// Compares what `canary` got of `all` requests with its `weight` in percent.
///
/// At the ends nothing is left to chance: at 0 one request of the canary's differs, at 100 one of
/// stable's, however few there were. In between the count may be off by 2 % of the requests, or by
/// four standard deviations of a fair draw and one request, whichever is more. The one is for small
/// weights, where a draw is skewed: of 100 requests at 1 %, six come once in 2,000 windows.
///
/// For requests that the weight decides about: those of testers and of clients that stay with their
/// arm are to be left out.
pub fn share(canary: u64, all: u64, weight: u8) -> Observed {
    let tolerance = tolerance(all, weight);
    let share = Share { canary, all, weight, tolerance };
    if off_by(&share) > tolerance {
        Observed::Differs(share)
    } else if all < NEEDED {
        Observed::TooFew { all, need: NEEDED }
    } else {
        Observed::Agrees(share)
    }
}

/// In requests.
fn tolerance(all: u64, weight: u8) -> f64 {
    if weight == 0 || weight >= 100 {
        return 0.0;
    }
    let (n, p) = (number(all), f64::from(weight) / 100.0);
    (SMALLEST * n).max(DEVIATIONS * (n * p * (1.0 - p)).sqrt() + 1.0)
}

/// In requests.
fn off_by(share: &Share) -> f64 {
    (number(share.canary) - number(share.all) * f64::from(share.weight) / 100.0).abs()
}

#[expect(clippy::cast_precision_loss, reason = "no window has 2^53 requests")]
fn number(requests: u64) -> f64 {
    requests as f64
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Observed::Agrees(share) => {
                write!(f, "{share}: as the weight of {} % says", share.weight)
            }
            Observed::Differs(share) => write!(
                f,
                "{share}, and the weight is {} %: {:.0} requests off, where chance explains {:.0}",
                share.weight,
                off_by(share),
                share.tolerance.floor()
            ),
            Observed::TooFew { all, need } => {
                write!(
                    f,
                    "{all} requests are too few to tell the canary's share, which needs {need}"
                )
            }
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent =
            if self.all == 0 { 0.0 } else { 100.0 * number(self.canary) / number(self.all) };
        write!(f, "the canary got {} of {} requests, {percent:.1} %", self.canary, self.all)
    }
}

#[cfg(test)]
mod tests;
