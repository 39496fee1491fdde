use super::super::local::Local;
use super::*;
use crate::catalog::Script;
use crate::catalog::timer::{Lines, schedule};

const WALL: SignedDuration = SignedDuration::from_secs(30);

struct Ground {
    store: Rc<Store>,
    timer: Timer,
    key: Key,
}

fn ground(cron: &str, missed: Missed) -> Ground {
    let mut script = Script::for_test("s", "n");
    let lines = Lines { schedule: Some(schedule(cron).unwrap()), missed: Some(missed), ..Lines::default() };
    script.timer = lines.timer();
    let key = Key::of(&script).unwrap();
    Ground { store: Rc::new(Store::Local(Local::default())), timer: script.timer.unwrap(), key }
}

impl Ground {
    fn keeper(&self) -> Keeper {
        Keeper::new(self.key.clone())
    }

    async fn step(&self, keeper: &mut Keeper, now: &str) -> Decision {
        keeper.step(&self.store, &self.timer, at(now), WALL).await.unwrap()
    }
}

/// A time on one day.
fn at(time: &str) -> Timestamp {
    let text = if time.contains('T') { time.to_owned() } else { format!("2026-11-23T{time}Z") };
    text.parse().unwrap()
}

#[tokio::test]
async fn a_due_time_is_taken_once() {
    let ground = ground("*/10 * * * *", Missed::Skip);
    let (mut one, mut two) = (ground.keeper(), ground.keeper());
    for keeper in [&mut one, &mut two] {
        assert_eq!(ground.step(keeper, "11:59:00").await, Decision::Wait);
        assert_eq!(ground.step(keeper, "11:59:59.999").await, Decision::Wait);
    }
    assert_eq!(ground.step(&mut one, "12:00:00").await, Decision::Run(at("12:00:00")));
    one.done(ground.store.clone()).tell().await;
    for keeper in [&mut one, &mut two] {
        assert_eq!(ground.step(keeper, "12:00:00.5").await, Decision::Wait);
        // The clock goes back, and comes again.
        assert_eq!(ground.step(keeper, "11:00:00").await, Decision::Wait);
        assert_eq!(ground.step(keeper, "12:00:30").await, Decision::Wait);
    }
    assert_eq!(ground.step(&mut two, "12:10:59").await, Decision::Run(at("12:10:00")));
    assert_eq!(ground.step(&mut one, "12:10:59").await, Decision::Wait);
}

#[tokio::test]
async fn what_was_missed_is_run_once_or_not_at_all() {
    for missed in [Missed::Skip, Missed::Run] {
        let ground = ground("*/10 * * * *", missed);
        assert_eq!(ground.step(&mut ground.keeper(), "06:00:00").await, Decision::Wait);
        let (mut one, mut two) = (ground.keeper(), ground.keeper());
        let due = at("12:00:00");
        let expected = if missed == Missed::Run { Decision::Run(due) } else { Decision::Missed(due) };
        assert_eq!(ground.step(&mut one, "12:01:01").await, expected);
        assert_eq!(ground.step(&mut two, "12:01:01").await, Decision::Wait);
        assert_eq!(ground.step(&mut one, "12:01:02").await, Decision::Wait);
    }
    // Late, but not too late.
    let ground = ground("*/10 * * * *", Missed::Skip);
    assert_eq!(ground.step(&mut ground.keeper(), "06:00:00").await, Decision::Wait);
    assert_eq!(ground.step(&mut ground.keeper(), "12:01:00").await, Decision::Run(at("12:00:00")));
}

#[tokio::test]
async fn a_new_schedule_begins_from_now() {
    let ground = ground("0 * * * *", Missed::Run);
    let mut keeper = ground.keeper();
    assert_eq!(ground.step(&mut keeper, "12:00:00.1").await, Decision::Wait);
    assert_eq!(ground.step(&mut keeper, "12:30:00").await, Decision::Wait);
    keeper.forget(&ground.store).await;
    assert_eq!(ground.step(&mut ground.keeper(), "18:30:00").await, Decision::Wait, "it came again");
}

#[tokio::test]
async fn runs_do_not_overlap() {
    let ground = ground("* * * * *", Missed::Skip);
    let (mut one, mut two) = (ground.keeper(), ground.keeper());
    assert_eq!(ground.step(&mut one, "11:59:30").await, Decision::Wait);
    assert_eq!(ground.step(&mut one, "12:00:00").await, Decision::Run(at("12:00:00")));
    let done = one.done(ground.store.clone());
    assert_eq!(ground.step(&mut two, "12:01:00").await, Decision::Overlapped(at("12:01:00")));
    assert_eq!(ground.step(&mut one, "12:01:00").await, Decision::Wait);
    // Its broker has died: after a minute, the longest run and a little more it counts no longer.
    assert_eq!(ground.step(&mut two, "12:02:00").await, Decision::Run(at("12:02:00")));
    // And its end is no end of another's.
    done.tell().await;
    assert_eq!(ground.step(&mut one, "12:03:00").await, Decision::Overlapped(at("12:03:00")));
}

#[tokio::test]
async fn an_end_is_told() {
    let ground = ground("* * * * *", Missed::Skip);
    let mut one = ground.keeper();
    // `done` looks at the real clock.
    let now = Timestamp::now();
    let soon = |minutes| now + SignedDuration::from_mins(minutes);
    let Ground { store, timer, .. } = &ground;
    assert_eq!(one.step(store, timer, now, WALL).await, Ok(Decision::Wait));
    assert!(matches!(one.step(store, timer, soon(1), WALL).await, Ok(Decision::Run(_))));
    one.done(store.clone()).tell().await;
    assert!(matches!(one.step(store, timer, soon(2), WALL).await, Ok(Decision::Run(_))));
}

#[tokio::test]
async fn an_answer_that_was_lost_is_found() {
    let ground = ground("* * * * *", Missed::Skip);
    let mut one = ground.keeper();
    assert_eq!(ground.step(&mut one, "11:59:30").await, Decision::Wait);
    // It was written, and we did not hear of it.
    let (_, revision) = ground.store.read(&ground.key).await.unwrap().unwrap();
    let due = at("12:00:00");
    let state = State { due, by: one.me.clone(), busy: None };
    assert!(ground.store.write(&ground.key, state.write(&ground.key), revision).await.unwrap());
    one.tried = Some(Decision::Run(due));
    assert_eq!(ground.step(&mut one, "12:00:02").await, Decision::Run(due));
    assert_eq!(ground.step(&mut one, "12:00:03").await, Decision::Wait);
    // What is kept is brought back from an old copy.
    let (_, revision) = ground.store.read(&ground.key).await.unwrap().unwrap();
    let state = State::since(at("06:00:00"));
    assert!(ground.store.write(&ground.key, state.write(&ground.key), revision).await.unwrap());
    assert_eq!(ground.step(&mut one, "12:00:04").await, Decision::Wait);
    // Another one took it.
    one.tried = Some(Decision::Run(at("12:01:00")));
    let mut two = ground.keeper();
    assert_eq!(ground.step(&mut two, "12:01:00").await, Decision::Run(at("12:01:00")));
    assert_eq!(ground.step(&mut one, "12:01:02").await, Decision::Wait);
}

#[tokio::test]
async fn nonsense_and_wrong_clocks_do_not_last() {
    let ground = ground("* * * * *", Missed::Run);
    assert!(ground.store.write(&ground.key, b"nonsense".to_vec(), NOTHING).await.unwrap());
    let mut keeper = ground.keeper();
    assert_eq!(ground.step(&mut keeper, "2031-11-23T12:00:00Z").await, Decision::Wait);
    assert!(matches!(ground.step(&mut keeper, "2031-11-23T12:01:00Z").await, Decision::Run(_)));
    // Five years ahead was wrong; a new broker begins from now.
    let mut right = ground.keeper();
    assert_eq!(ground.step(&mut right, "12:00:30").await, Decision::Wait);
    assert_eq!(ground.step(&mut right, "12:01:00").await, Decision::Run(at("12:01:00")));
    assert_eq!(ground.step(&mut keeper, "12:01:02").await, Decision::Wait);
    assert_eq!(
        ground.step(&mut keeper, "12:02:00").await,
        Decision::Overlapped(at("12:02:00")),
        "it knows, too"
    );
    // An hour ahead may have been right.
    let mut back = ground.keeper();
    assert_eq!(ground.step(&mut back, "11:01:00").await, Decision::Wait);
    assert_eq!(ground.step(&mut back, "11:02:00").await, Decision::Wait);
}
