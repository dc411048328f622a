use super::*;

const POLICY: Policy =
    Policy { backoff_min: Duration::from_millis(1), backoff_max: Duration::from_millis(2), burst: None, window: Duration::from_secs(60) };

fn fresh() -> Session {
    Session::new(POLICY, true, Duration::from_secs(5))
}

/// Lets agents run and die, each after so many seconds; which of them were resumed.
fn lives(session: &mut Session, seconds: &[u64]) -> Vec<bool> {
    let mut now = Duration::from_secs(1000);
    let mut resumed = vec![];
    let _ = session.step(now, Event::Start, 0.5);
    for ran in seconds {
        resumed.push(session.resumes());
        assert_eq!(session.step(now, Event::Spawned, 0.5), [Action::Announce]);
        now += Duration::from_secs(*ran);
        assert_eq!(session.step(now, Event::Died { reason: "x".into(), remedy: Remedy::Again }, 0.5), [Action::Terminate]);
        let _ = session.step(now, Event::Clear, 0.5);
        while session.phase != Phase::Starting {
            now += Duration::from_secs(1);
            let _ = session.step(now, Event::Wake, 0.5);
            let _ = session.step(now, Event::Clear, 0.5);
        }
    }
    resumed
}

#[test]
fn a_resume_that_comes_to_nothing_is_followed_by_a_start() {
    // Killed before its first conversation was kept: nothing can be resumed, so it begins again.
    assert_eq!(lives(&mut fresh(), &[1, 1, 1, 1]), [false, true, false, true]);
    assert_eq!(lives(&mut fresh(), &[1, 1, 20, 1, 1]), [false, true, false, true, true], "from then on there is a conversation");
    assert_eq!(lives(&mut fresh(), &[20, 1, 1, 1]), [false, true, true, true]);
}

#[test]
fn a_named_conversation_is_never_lost_by_a_start() {
    let mut session = Session { named: true, ..fresh() };
    assert_eq!(lives(&mut session, &[20, 1, 1, 1]), [false, true, false, true]);
    let mut after_a_boot = Session { named: true, started: true, ..fresh() };
    assert_eq!(lives(&mut after_a_boot, &[1, 1]), [true, false]);
    let mut unnamed = Session { started: true, lasting: true, ..fresh() };
    assert_eq!(lives(&mut unnamed, &[1, 1]), [true, true]);
}

/// An agent that has run for a minute and now dies so.
fn dies(session: &mut Session, now: Duration, remedy: Remedy) -> Vec<Action> {
    session.phase = Phase::Up { since: now - Duration::from_secs(60) };
    assert_eq!(session.step(now, Event::Died { reason: "x".into(), remedy }, 0.5), [Action::Terminate]);
    session.step(now, Event::Clear, 0.5)
}

#[test]
fn each_remedy_is_followed() {
    let now = Duration::from_secs(1000);
    let until = now + Duration::from_secs(3600);
    let mut session = fresh();
    assert_eq!(dies(&mut session, now, Remedy::Again), [Action::Spawn]);
    for _ in 0..3 {
        assert_eq!(dies(&mut session, now, Remedy::AtOnce), [Action::Spawn]);
    }
    assert_eq!((session.deaths.record().count(), session.heals), (1, 4));
    let mut session = fresh();
    assert_eq!(dies(&mut session, now, Remedy::Slower), [Action::Announce]);
    assert_eq!(session.phase, Phase::Backoff { until: now + POLICY.backoff_min, reason: "x".into() });
    let mut session = fresh();
    assert_eq!(dies(&mut session, now, Remedy::Never), [Action::Announce]);
    assert_eq!((&session.phase, session.next_deadline()), (&Phase::Failing { reason: "x".into() }, None));
    let mut session = fresh();
    assert_eq!(dies(&mut session, now, Remedy::NotBefore(until)), [Action::Announce]);
    assert_eq!((session.next_deadline(), session.deaths.record().count()), (Some(until), 0));
    assert_eq!(session.step(until - Duration::from_secs(1), Event::Wake, 0.5), []);
    assert_eq!(session.step(until, Event::Wake, 0.5), [Action::Terminate]);
    assert_eq!(session.step(until, Event::Clear, 0.5), [Action::Spawn]);
}

#[test]
fn only_one_that_waits_can_be_made_to_wait_longer() {
    let now = Duration::from_secs(1000);
    let slow = Event::Slow { until: now + Duration::from_secs(60), why: "storm".into() };
    let mut session = Session { policy: Policy { backoff_max: Duration::from_secs(30), ..POLICY }, ..fresh() };
    session.phase = Phase::Up { since: now };
    assert_eq!(session.step(now, slow.clone(), 0.5), []);
    assert_eq!(dies(&mut session, now, Remedy::Slower), [Action::Announce]);
    assert_eq!(session.step(now, slow.clone(), 0.5), [Action::Announce]);
    assert_eq!(session.phase, Phase::Backoff { until: now + Duration::from_secs(30), reason: "storm; x".into() });
    assert_eq!((session.deaths.record().count(), session.step(now, slow, 0.5)), (0, vec![]));
}

#[test]
fn a_limit_outlives_its_host_and_ends_when_the_operator_says_so() {
    let (now, until) = (Duration::from_secs(1), Duration::from_secs(100));
    let mut session = fresh();
    assert_eq!(session.step(now, Event::Limited { until, reason: "x".into() }, 0.5), [Action::Announce]);
    assert_eq!(session.next_deadline(), Some(until));
    assert_eq!(session.clone().step(now, Event::Stop, 0.5), [Action::Terminate]);
    assert_eq!(session.step(now, Event::Restart, 0.5), [Action::Announce, Action::Terminate]);
    assert_eq!(session.step(now, Event::Clear, 0.5), [Action::Spawn]);
}

#[test]
fn one_that_died_at_its_limit_is_told_to_go_on_where_it_is_resumed() {
    let (now, until) = (Duration::from_secs(1000), Duration::from_secs(5000));
    for (anew, expected) in [(false, vec![Action::GoOn, Action::Terminate]), (true, vec![Action::Terminate])] {
        let mut session = Session { started: true, anew, ..fresh() };
        session.phase = Phase::Limited { until, reason: "x".into() };
        assert_eq!(session.step(now, Event::Wake, 0.5), []);
        assert_eq!(session.step(until, Event::Wake, 0.5), expected);
        assert_eq!(session.step(until, Event::Clear, 0.5), [Action::Spawn]);
    }
}

#[test]
fn a_living_one_at_its_limit_is_left_alone_until_then() {
    let (now, until) = (Duration::from_secs(1000), Duration::from_secs(5000));
    let reached = Event::Reached { until, reason: "resets at 3pm".into() };
    let mut session = fresh();
    assert_eq!(session.step(now, reached.clone(), 0.5), [], "nothing runs");
    session.phase = Phase::Up { since: now };
    assert_eq!(session.step(now, reached.clone(), 0.5), [Action::Announce]);
    assert_eq!(session.next_deadline(), Some(until));
    assert_eq!(session.step(now, Event::Stalled { reason: "idle".into() }, 0.5), []);
    assert_eq!(session.step(until, Event::Wake, 0.5), [Action::Announce, Action::GoOn]);
    assert_eq!(session.next_deadline(), None);
    // It works again sooner; or it ends, and waits like any other.
    assert_eq!(session.step(now, reached.clone(), 0.5), [Action::Announce]);
    assert_eq!(session.step(now, Event::Freed, 0.5), [Action::Announce]);
    assert_eq!(session.step(now, Event::Freed, 0.5), []);
    assert_eq!(session.step(now, reached, 0.5), [Action::Announce]);
    assert_eq!(session.step(now, Event::Died { reason: "x".into(), remedy: Remedy::Again }, 0.5), [Action::Terminate]);
    assert_eq!(session.step(now, Event::Clear, 0.5), [Action::Announce]);
    assert_eq!(session.phase, Phase::Limited { until, reason: "resets at 3pm; x".into() });
}

#[test]
fn one_that_stalls_is_ended_and_resumed() {
    let now = Duration::from_secs(1000);
    let mut session = Session { started: true, ..fresh() };
    session.phase = Phase::Up { since: now - Duration::from_secs(60) };
    let stalled = Event::Stalled { reason: "idle".into() };
    assert_eq!(session.step(now, stalled.clone(), 0.5), [Action::Announce, Action::Terminate]);
    assert_eq!(session.step(now, stalled, 0.5), [], "once");
    assert_eq!(session.step(now, Event::Clear, 0.5), [Action::Spawn]);
    assert!(session.resumes() && session.heals == 1);
}

#[test]
fn the_operator_ends_a_wait() {
    let mut session = fresh();
    let now = Duration::from_secs(1);
    session.phase = Phase::Backoff { until: Duration::from_secs(100), reason: "x".into() };
    session.heals = 3;
    assert_eq!(session.step(now, Event::Restart, 0.5), [Action::Announce, Action::Terminate]);
    assert_eq!(session.step(now, Event::Clear, 0.5), [Action::Spawn]);
    assert_eq!(session.heals, 0);
}
