use super::*;

/// Accounts that say what they are told to.
#[derive(Default)]
struct Books(AtomicU64);

impl Spending for Books {
    fn spent(&self, _: KeyId, _: Period) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn books(&self) -> u64 {
        1
    }
}

fn purse(micro_usd: u64) -> (Purse, Arc<Books>) {
    let books = Arc::new(Books::default());
    let budget = Budget {
        micro_usd,
        per: Period::Total,
    };
    let clock = Arc::new(Clock::new());
    let purse = Purse::new(KeyId(0), Some(budget), clock, Arc::clone(&books) as _);
    (purse, books)
}

/// In millionths.
fn cost(surely: u64, at_most: u64) -> Cost {
    Cost {
        surely: surely * NANOS,
        at_most: at_most * NANOS,
    }
}

/// Requests of that cost that are let through at once.
fn burst(purse: &Purse, cost: Cost) -> u64 {
    (0..200)
        .filter(|_| purse.try_set_aside(0, cost).is_ok())
        .count() as u64
}

#[test]
fn many_at_once_are_let_through_as_far_as_the_budget_reaches() {
    let (purse, books) = purse(1000);
    assert_eq!(burst(&purse, cost(10, 90)), 11);
    assert_eq!(
        purse.try_set_aside(0, cost(1, 11)),
        Err(Refusal::SetAside { left: 1000 })
    );
    // The truth takes the place of what was set aside.
    books.0.store(20, Ordering::Relaxed);
    purse.free(90 * NANOS);
    assert_eq!(burst(&purse, cost(10, 90)), 0);
    assert_eq!(burst(&purse, cost(10, 80)), 1);
    books.0.store(1000, Ordering::Relaxed);
    let refusal = purse.try_set_aside(0, cost(0, 0));
    assert!(matches!(refusal, Err(Refusal::Budget { .. })));
}

#[test]
fn one_alone_may_use_what_is_left_if_its_prompt_fits() {
    let (purse, books) = purse(1000);
    books.0.store(900, Ordering::Relaxed);
    let held = purse.try_set_aside(0, cost(100, 5000)).unwrap();
    // Its next attempt is the same request.
    assert_eq!(purse.try_set_aside(held, cost(50, 7000)), Ok(7000 * NANOS));
    assert_eq!(
        purse.try_set_aside(0, cost(1, 1)),
        Err(Refusal::SetAside { left: 100 })
    );
    // What costs nothing is always let through.
    assert_eq!(purse.try_set_aside(0, cost(0, 0)), Ok(0));
    purse.free(7000 * NANOS);
    assert_eq!(
        purse.try_set_aside(0, cost(10_100, 90_000)),
        Ok(90_000 * NANOS)
    );
    purse.free(90_000 * NANOS);
    let dear = Refusal::TooDear {
        left: 100,
        wanted: 10_101,
    };
    assert_eq!(purse.try_set_aside(0, cost(10_101, 10_101)), Err(dear));
}

#[test]
fn what_grows_beyond_its_share_counts_for_those_that_come() {
    let (purse, _) = purse(1000);
    let held = purse.try_set_aside(0, cost(10, 100)).unwrap();
    let held = purse.raise(held, 900 * NANOS);
    assert_eq!(burst(&purse, cost(10, 50)), 2);
    purse.free(held);
    assert_eq!(burst(&purse, cost(10, 50)), 18);
}

#[tokio::test]
async fn whoever_comes_as_another_ends_waits_for_it() {
    let (purse, _) = purse(1000);
    let purse = Arc::new(purse);
    let held = purse.try_set_aside(0, cost(10, 1000)).unwrap();
    let ending = Arc::clone(&purse);
    let (waits, ends) = tokio::join!(purse.set_aside(0, cost(10, 1000)), async move {
        tokio::task::yield_now().await;
        ending.free(held);
    });
    assert_eq!((waits, ends), (Ok(1000 * NANOS), ()));
}

/// Whether gateways hear of each other at once or an exchange later.
#[test]
fn gateways_that_have_not_heard_of_each_other_stay_within_the_budget() {
    for gateways in [2, 3, 5] {
        for late in [0, 1] {
            let purses: Vec<Purse> = (0..gateways).map(|_| purse(100_000).0).collect();
            let mut told = vec![vec![Statement::default(); gateways]; 1];
            for purse in &purses {
                purse.among(gateways);
            }
            let mut through = 0;
            for round in 0..40 {
                through += purses
                    .iter()
                    .map(|purse| burst(purse, cost(1, 500)))
                    .sum::<u64>();
                let statements = purses.iter().map(|purse| purse.statement().unwrap().1);
                told.push(statements.collect());
                let heard: &Vec<Statement> = &told[(told.len() - 1).saturating_sub(late)];
                for (place, purse) in purses.iter().enumerate() {
                    let others = heard
                        .iter()
                        .enumerate()
                        .filter(|(other, _)| *other != place);
                    let aside = others.map(|(_, statement)| statement.aside).sum();
                    let own = told[told.len() - 1][place];
                    purse.learn(Millis::MAX, 0, aside, own);
                }
                assert!(
                    through * 500 <= 100_000,
                    "{through} of 200, round {round}, {late} late"
                );
            }
            assert!(through > 150, "{through} of 200 among {gateways}");
        }
    }
}

/// The shared server's part: what each gateway has set aside, and one claim at a time.
fn exchange(purses: &[&Purse], aside: &mut [u64], spent: u64) {
    for (place, purse) in purses.iter().enumerate() {
        let mut told = purse.statement().unwrap().1;
        let others = aside.iter().enumerate();
        let others = others.filter(|(other, _)| *other != place);
        let others = others.map(|(_, aside)| aside).sum();
        let granted = others == 0 && told.claim > 0;
        if granted {
            told.aside = told.aside.max(told.claim);
        }
        aside[place] = told.aside;
        purse.learn(Millis::MAX, spent, others, told);
        if told.claim > 0 {
            purse.answer_claim(granted);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_all_gateways_one_request_at_a_time_may_use_what_is_left() {
    let ((one, its_books), (other, _)) = (purse(1000), purse(1000));
    its_books.0.store(900, Ordering::Relaxed);
    let (purses, mut aside) = ([&one, &other], [0, 0]);
    for purse in purses {
        purse.among(2);
        purse.share(true);
    }
    exchange(&purses, &mut aside, 900);
    let dear = cost(50, 5000);
    // Without a wait nobody is asked whether it is alone.
    assert_eq!(
        one.try_set_aside(0, dear),
        Err(Refusal::SetAside { left: 100 })
    );
    exchange(&purses, &mut aside, 900);
    assert_eq!(aside, [0, 0]);
    let talk = async {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(25)).await;
            exchange(&purses, &mut aside, 900);
        }
    };
    let (first, second, ()) = tokio::join!(one.set_aside(0, dear), other.set_aside(0, dear), talk);
    assert_eq!(first, Ok(5000 * NANOS));
    assert_eq!(second, Err(Refusal::SetAside { left: 100 }));
    assert_eq!(aside, [5000, 0]);
    // When it has ended, the other may.
    one.free(5000 * NANOS);
    let talk = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(25)).await;
            exchange(&purses, &mut aside, 900);
        }
    };
    let (second, ()) = tokio::join!(other.set_aside(0, dear), talk);
    assert_eq!(second, Ok(5000 * NANOS));
    other.free(5000 * NANOS);
    // Who leaves before it was answered keeps nothing from others.
    let left = tokio::time::timeout(Duration::from_millis(1), one.set_aside(0, dear)).await;
    assert!(left.is_err());
    exchange(&purses, &mut aside, 900);
    exchange(&purses, &mut aside, 900);
    assert_eq!(aside, [0, 0]);
    // Without the server, nobody can say.
    one.share(false);
    assert_eq!(one.try_set_aside(0, dear), Ok(5000 * NANOS));
}
