use super::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Says {
    Agrees,
    Differs,
    TooFew,
}
use Says::{Agrees, Differs, TooFew};

#[track_caller]
fn check(canary: u64, all: u64, weight: u8, expected: Says) {
    let observed = share(canary, all, weight);
    let says = match observed {
        Observed::Agrees(_) => Agrees,
        Observed::Differs(_) => Differs,
        Observed::TooFew { .. } => TooFew,
    };
    assert_eq!(says, expected, "{observed}");
}

#[test]
fn a_share_agrees_within_two_percent_or_what_chance_explains() {
    // 10 % of 10,000 are 1000; 2 % of all are 200, four deviations and one 121.
    check(1000, 10_000, 10, Agrees);
    check(1200, 10_000, 10, Agrees);
    check(1201, 10_000, 10, Differs);
    check(800, 10_000, 10, Agrees);
    check(799, 10_000, 10, Differs);
    // 50 % of 100 are 50; four deviations and one are 21, 2 % only 2.
    check(71, 100, 50, Agrees);
    check(72, 100, 50, Differs);
    check(29, 100, 50, Agrees);
    check(28, 100, 50, Differs);
}

#[test]
fn fewer_than_a_hundred_requests_say_nothing_unless_no_chance_explains_them() {
    check(0, 0, 0, TooFew);
    check(0, 0, 50, TooFew);
    check(0, 0, 100, TooFew);
    check(50, 99, 50, TooFew);
    check(99, 99, 1, Differs);
}

#[test]
fn at_the_ends_one_request_on_the_wrong_arm_differs() {
    check(0, 100, 0, Agrees);
    check(0, 99, 0, TooFew);
    check(1, 100, 0, Differs);
    check(1, 1, 0, Differs);
    check(1, 1_000_000, 0, Differs);
    check(100, 100, 100, Agrees);
    check(99, 99, 100, TooFew);
    check(99, 100, 100, Differs);
    check(0, 1, 100, Differs);
}

#[test]
fn a_weight_that_was_not_taken_up_is_seen_within_a_few_hundred_requests() {
    // The route says 25, the gateway still does 10; or nothing; or all of it.
    check(40, 400, 25, Differs);
    check(0, 100, 25, Differs);
    check(0, 400, 5, Differs);
    check(100, 100, 50, Differs);
}

#[test]
fn the_sentence_has_the_numbers() {
    let says = |canary, all, weight| share(canary, all, weight).to_string();
    assert_eq!(
        says(98, 1000, 10),
        "the canary got 98 of 1000 requests, 9.8 %: as the weight of 10 % says"
    );
    assert_eq!(
        says(300, 1000, 10),
        "the canary got 300 of 1000 requests, 30.0 %, and the weight is 10 %: 200 requests off, where chance explains 38"
    );
    assert_eq!(
        says(3, 500, 0),
        "the canary got 3 of 500 requests, 0.6 %, and the weight is 0 %: 3 requests off, where chance explains 0"
    );
    assert_eq!(
        says(4, 40, 10),
        "40 requests are too few to tell the canary's share, which needs 100"
    );
}

/// Not a sample: the probability itself, added up over every count that a fair draw can have.
#[test]
fn a_fair_draw_agrees_in_more_than_999_of_1000_windows() {
    let mut worst: f64 = 1.0;
    for all in [100, 101, 120, 150, 200, 300, 400, 500, 700, 1000, 2000, 5000, 20_000] {
        for weight in 1..100 {
            let agrees = probability_to_agree(all, weight);
            assert!(agrees >= 0.999, "{agrees} at weight {weight} and {all} requests");
            worst = worst.min(agrees);
        }
    }
    assert!(worst < 0.99999, "the tolerance is too wide to be any use: {worst}");
}

fn probability_to_agree(all: u64, weight: u8) -> f64 {
    let p = f64::from(weight) / 100.0;
    // Probabilities in logarithms: 0.99^20000 is fine, 0.01^20000 is no number of f64's.
    let mut log = number(all) * (1.0 - p).ln();
    let mut sum = 0.0;
    for canary in 0..=all {
        if matches!(share(canary, all, weight), Observed::Agrees(_)) {
            sum += log.exp();
        }
        log += (number(all - canary) / number(canary + 1) * p / (1.0 - p)).ln();
    }
    sum
}
