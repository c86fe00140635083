//! The test that tells slow copies from noise.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::pace::{Answer, Pace, Reference};
use super::super::resident::Grade;
use super::*;

fn took(tokens: u32, rate: f64) -> Option<(u32, Duration)> {
    Some((tokens, Duration::from_secs_f64(f64::from(tokens) / rate)))
}

fn written(rate: f64) -> RunOutcome {
    RunOutcome {
        output: took(100, rate),
        ..RunOutcome::default()
    }
}

/// Copies of one model, whose answers vary by a fifth.
struct Copies {
    paces: Vec<Pace>,
    others: Reference,
    rng: StdRng,
}

impl Copies {
    fn new(count: usize) -> Self {
        Self {
            paces: vec![Pace::default(); count],
            others: Reference::default(),
            rng: StdRng::seed_from_u64(11),
        }
    }

    /// A factor whose logarithm has a standard deviation of 0.2.
    fn noise(&mut self) -> f64 {
        let uniform: f64 = (0..12).map(|_| self.rng.r#gen::<f64>()).sum();
        (0.2 * (uniform - 6.0)).exp()
    }

    fn answer(&mut self, copy: usize, outcome: impl Fn(f64) -> RunOutcome, beside: u32) -> Grade {
        let answer = Answer::new(outcome(self.noise()), beside);
        let pace = &mut self.paces[copy];
        pace.learn(&answer, &self.others);
        pace.grade = pace.verdict();
        self.others.follow(&answer, self.paces.iter());
        self.paces[copy].grade
    }

    fn warm_up(&mut self, answers: usize) {
        for _ in 0..answers {
            for copy in 0..self.paces.len() {
                self.answer(copy, |noise| written(50.0 * noise), 0);
            }
        }
    }

    /// How many answers at this rate it takes until the copy is slow.
    fn found_after(&mut self, copy: usize, outcome: impl Fn(f64) -> RunOutcome) -> usize {
        (1..=50)
            .find(|_| self.answer(copy, &outcome, 0) != Grade::Well)
            .unwrap()
    }
}

#[test]
fn half_the_speed_is_found_within_ten_answers() {
    let mut copies = Copies::new(10);
    copies.warm_up(30);
    for copy in 0..10 {
        let answers = copies.found_after(copy, |noise| written(25.0 * noise));
        assert!(answers <= 10, "{answers}");
        copies.paces[copy] = copies.paces[(copy + 1) % 10];
        copies.paces[copy].grade = Grade::Well;
    }
    let on_the_cpu = copies.found_after(3, |noise| written(5.0 * noise));
    assert_eq!(on_the_cpu, 3);
    assert_eq!(copies.paces[3].grade, Grade::Slow(SlowCause::Decode));
}

#[test]
fn a_fleet_that_starts_with_a_slow_copy_finds_it() {
    let mut copies = Copies::new(10);
    for _ in 0..10 {
        for copy in 0..10 {
            let rate = if copy == 4 { 25.0 } else { 50.0 };
            copies.answer(copy, |noise| written(rate * noise), 0);
        }
    }
    for copy in 0..10 {
        assert_eq!(copies.paces[copy].grade != Grade::Well, copy == 4, "{copy}");
    }
}

#[test]
fn a_fifth_of_noise_raises_nothing() {
    let mut copies = Copies::new(10);
    for round in 0..20_000 {
        for copy in 0..10 {
            let grade = copies.answer(copy, |noise| written(50.0 * noise), 0);
            assert_eq!(grade, Grade::Well, "copy {copy}, answer {round}");
        }
    }
}

#[test]
fn requests_beside_others_are_compared_with_such() {
    let mut copies = Copies::new(4);
    // One copy serves four at once, each at a third of the speed; the others one.
    for _ in 0..200 {
        for copy in 0..4 {
            let (rate, beside) = if copy == 0 { (17.0, 3) } else { (50.0, 0) };
            let grade = copies.answer(copy, |noise| written(rate * noise), beside);
            assert_eq!(grade, Grade::Well);
        }
    }
}

#[test]
fn slow_reading_is_found_by_prompts_of_the_same_length() {
    let read = |tokens: u32, rate: f64| RunOutcome {
        prompt: took(tokens, rate),
        told_cached: true,
        ..RunOutcome::default()
    };
    let mut copies = Copies::new(3);
    for _ in 0..30 {
        for copy in 0..3 {
            copies.answer(copy, |noise| read(300, 500.0 * noise), 0);
            copies.answer(copy, |noise| read(8000, 2500.0 * noise), 0);
            // Short ones say nothing.
            let grade = copies.answer(copy, |noise| read(20, 30.0 * noise), 0);
            assert_eq!(grade, Grade::Well);
        }
    }
    let answers = copies.found_after(1, |noise| read(8000, 1200.0 * noise));
    assert!(answers <= 10, "{answers}");
    assert_eq!(copies.paces[1].grade, Grade::Slow(SlowCause::Prefill));
}

#[test]
fn a_copy_that_becomes_slower_than_it_was_is_found_though_it_is_the_only_one() {
    let mut copies = Copies::new(1);
    copies.warm_up(100);
    let answers = copies.found_after(0, |noise| written(25.0 * noise));
    assert!(answers <= 10, "{answers}");
    assert_eq!(copies.paces[0].grade, Grade::Slow(SlowCause::Drift));
    // It cools down.
    let back = (1..50).find(|_| copies.answer(0, |noise| written(50.0 * noise), 0) == Grade::Well);
    assert!(back.unwrap() <= 15, "{back:?}");
}

#[test]
fn a_fast_copy_that_becomes_like_the_others_has_drifted() {
    let mut copies = Copies::new(4);
    for _ in 0..100 {
        for copy in 0..4 {
            let rate = if copy == 0 { 110.0 } else { 50.0 };
            copies.answer(copy, |noise| written(rate * noise), 0);
        }
    }
    copies.found_after(0, |noise| written(50.0 * noise));
    assert_eq!(copies.paces[0].grade, Grade::Slow(SlowCause::Drift));
}

#[test]
fn work_that_is_slower_for_all_is_no_drift() {
    let mut copies = Copies::new(4);
    copies.warm_up(100);
    // Contexts grow over the day.
    for hour in 0..40 {
        let rate = 50.0 * 0.97_f64.powi(hour);
        for _ in 0..20 {
            for copy in 0..4 {
                let grade = copies.answer(copy, |noise| written(rate * noise), 0);
                assert_eq!(grade, Grade::Well, "at {rate}");
            }
        }
    }
}

#[test]
fn work_that_becomes_slower_for_all_at_once_is_nobodys_fault() {
    let mut copies = Copies::new(8);
    copies.warm_up(100);
    for _ in 0..50 {
        for copy in 0..8 {
            let grade = copies.answer(copy, |noise| written(25.0 * noise), 0);
            assert_eq!(grade, Grade::Well);
        }
    }
}

#[test]
fn the_gateways_own_request_tells_whether_a_copy_has_recovered() {
    for (rate, recovered) in [(50.0, true), (25.0, false)] {
        let mut copies = Copies::new(3);
        copies.warm_up(30);
        copies.found_after(2, |noise| written(25.0 * noise));
        let own = RunOutcome {
            output: took(8, rate),
            ..RunOutcome::default()
        };
        let mut pace = copies.paces[2];
        assert_eq!(pace.try_out(&own, &copies.others), recovered);
        assert_eq!(pace.verdict() == Grade::Well, recovered);
    }
}
