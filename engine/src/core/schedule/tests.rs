use super::*;

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

struct Queue {
    schedule: Schedule,
    now: Duration,
}

fn queue(parallel: usize, lanes: &[(&str, usize)]) -> Queue {
    let mut queue = Queue { schedule: Schedule::default(), now: secs(1000) };
    let lanes = lanes.iter().map(|(l, n)| ((*l).to_owned(), *n)).collect();
    assert_eq!(queue.tell(Event::Limits { parallel, lanes }), []);
    assert_eq!(queue.tell(Event::Open(true)), []);
    queue
}

impl Queue {
    fn tell(&mut self, event: Event) -> Vec<Action> {
        self.schedule.step(self.now, event, 0.5)
    }

    fn found(&mut self, id: Id, spec: Spec, after: &[(Id, Before)]) -> Vec<Action> {
        self.tell(Event::Found { id, spec, found: Found::Pending { due: None, after: after.to_vec() } })
    }

    /// In the queue, started, and running.
    fn runs(&mut self, id: Id, spec: Spec) {
        assert_eq!(self.found(id, spec, &[]), [Action::Start(id)]);
        assert_eq!(self.tell(Event::Started { id, timeout: Some(secs(60)) }), []);
    }

    fn ends(&mut self, id: Id, exit: Exit, said: Option<bool>, remedy: Remedy) -> Vec<Action> {
        self.tell(Event::Ended { id, exit, said, remedy })
    }
}

fn moves(id: Id, to: To, outcome: Outcome) -> Vec<Action> {
    vec![Action::Move(Move { id, to, outcome: Some(outcome), step: Step::Work, forgive: false })]
}

#[test]
fn by_priority_then_by_age_and_never_more_than_allowed() {
    let mut queue = queue(2, &[("heavy", 1)]);
    assert_eq!(queue.tell(Event::Open(false)), []);
    let heavy = || Spec { lane: Some("heavy".into()), priority: 9, ..Spec::default() };
    for (id, spec) in [(1, Spec::default()), (2, heavy()), (3, heavy()), (4, Spec { priority: 5, ..Spec::default() }), (5, Spec::default())]
    {
        assert_eq!(queue.found(id, spec, &[]), [], "the queue is stopped");
    }
    assert_eq!(queue.schedule.counts(), (5, 0, 0));
    assert_eq!(queue.tell(Event::Open(true)), [Action::Start(2), Action::Start(4)], "the lane has one place");
    for id in [2, 4] {
        assert_eq!(queue.tell(Event::Started { id, timeout: None }), []);
    }
    let after_four = queue.ends(4, Exit::Well, None, Remedy::Again);
    assert_eq!(after_four, [moves(4, To::Done, Outcome::Done), vec![Action::Start(1)]].concat(), "a free place is used at once");
    assert_eq!(queue.ends(2, Exit::Well, None, Remedy::Again), [moves(2, To::Done, Outcome::Done), vec![Action::Start(3)]].concat());
}

#[test]
fn what_an_end_means() {
    let at = secs(5000);
    let idempotent = || Spec { idempotent: true, ..Spec::default() };
    let retried = || Spec { retries: 1, ..Spec::default() };
    let again = To::Pending(Some(secs(1000) + backoff(1, 0.5)));
    for (spec, exit, said, remedy, to, outcome) in [
        (Spec::default(), Exit::Well, None, Remedy::Again, To::Done, Outcome::Done),
        (Spec::default(), Exit::Badly, None, Remedy::Again, To::Failed, Outcome::Failed),
        (Spec::default(), Exit::Badly, Some(true), Remedy::Again, To::Done, Outcome::Done),
        (Spec::default(), Exit::Well, Some(false), Remedy::Again, To::Failed, Outcome::Failed),
        (Spec::default(), Exit::Unseen, Some(true), Remedy::Again, To::Done, Outcome::Done),
        (Spec::default(), Exit::Unseen, None, Remedy::Again, To::Held, Outcome::Interrupted),
        (idempotent(), Exit::Unseen, None, Remedy::Again, To::Pending(None), Outcome::Interrupted),
        (Spec::default(), Exit::Badly, None, Remedy::NotBefore(at), To::Pending(Some(at)), Outcome::Limited),
        (retried(), Exit::Badly, None, Remedy::Again, again, Outcome::Failed),
        (retried(), Exit::Badly, None, Remedy::Never, To::Failed, Outcome::Failed),
        (Spec { failed: 1, ..retried() }, Exit::Badly, None, Remedy::Again, To::Failed, Outcome::Failed),
    ] {
        let mut queue = queue(1, &[]);
        queue.runs(7, spec.clone());
        assert_eq!(queue.ends(7, exit, said, remedy), moves(7, to, outcome), "{spec:?} {exit:?} {said:?} {remedy:?}");
        assert_eq!(queue.ends(7, exit, said, remedy), [], "said twice");
    }
}

#[test]
fn three_retries_are_four_attempts() {
    let mut queue = queue(1, &[]);
    queue.runs(1, Spec { retries: 3, ..Spec::default() });
    let mut waits = vec![];
    for attempt in 1..=4 {
        let actions = queue.ends(1, Exit::Badly, None, Remedy::Again);
        let [Action::Move(Move { to, .. })] = actions[..] else { panic!("{actions:?}") };
        assert_eq!(queue.tell(Event::Moved { id: 1, done: true }), []);
        match to {
            To::Pending(Some(at)) => {
                waits.push((at - queue.now).as_millis());
                assert_eq!(queue.schedule.next_deadline(), Some(at));
                queue.now = at;
                assert_eq!(queue.tell(Event::Wake), [Action::Start(1)]);
                assert_eq!(queue.tell(Event::Started { id: 1, timeout: None }), []);
            }
            To::Failed => assert_eq!((attempt, waits.as_slice()), (4, &[500, 1000, 2000][..])),
            other => panic!("{other:?}"),
        }
    }
    assert!(!queue.schedule.knows(1) && !queue.schedule.is_alive());
}

#[test]
fn who_waits_for_a_failed_one_is_blocked_until_that_is_done() {
    let mut queue = queue(2, &[]);
    queue.runs(1, Spec::default());
    assert_eq!(queue.found(2, Spec::default(), &[(1, Before::Open)]), []);
    assert_eq!(queue.found(3, Spec::default(), &[(1, Before::Open), (2, Before::Open)]), []);
    assert_eq!(queue.found(4, Spec::default(), &[(77, Before::Badly)]), [], "what is not there cannot be waited for");
    let _ = queue.ends(1, Exit::Badly, None, Remedy::Again);
    assert_eq!(queue.tell(Event::Moved { id: 1, done: true }), []);
    assert!(!queue.schedule.is_alive(), "nothing starts by itself any more");
    // Tried again by the operator, and done.
    assert_eq!(queue.found(1, Spec::default(), &[]), [Action::Start(1)]);
    assert_eq!(queue.tell(Event::Started { id: 1, timeout: None }), []);
    let _ = queue.ends(1, Exit::Well, None, Remedy::Again);
    assert_eq!(queue.tell(Event::Moved { id: 1, done: true }), [Action::Start(2)]);
}

#[test]
fn an_agent_that_has_said_it_and_stays_is_ended() {
    let mut queue = queue(1, &[]);
    queue.runs(1, Spec::default());
    assert_eq!(queue.tell(Event::Said { id: 1 }), []);
    assert_eq!(queue.schedule.next_deadline(), Some(queue.now + TASK_FAREWELL));
    queue.now += secs(61);
    assert_eq!(queue.tell(Event::Wake), [Action::End(1, Why::Said)], "it is not late any more");
    assert_eq!((queue.tell(Event::Wake), queue.schedule.next_deadline()), (vec![], None));
    assert_eq!(queue.ends(1, Exit::Badly, Some(true), Remedy::Again), moves(1, To::Done, Outcome::Done));
}

#[test]
fn a_late_one_is_ended_and_tried_again_where_it_may() {
    for (retries, to) in [(0, To::Timeout), (1, To::Pending(Some(secs(1061) + backoff(1, 0.5))))] {
        let mut queue = queue(1, &[]);
        queue.runs(1, Spec { retries, ..Spec::default() });
        assert_eq!(queue.tell(Event::Timeout { id: 1, timeout: Some(secs(61)) }), []);
        queue.now += secs(60);
        assert_eq!(queue.tell(Event::Wake), []);
        queue.now += secs(1);
        assert_eq!(queue.tell(Event::Wake), [Action::End(1, Why::Timeout)]);
        assert_eq!(queue.ends(1, Exit::Well, None, Remedy::Again), moves(1, to, Outcome::Timeout));
    }
}

#[test]
fn its_result_is_verified_before_it_is_believed() {
    let verified = || Spec { verify: true, ..Spec::default() };
    for (exit, to, outcome) in
        [(Exit::Well, To::Done, Outcome::Done), (Exit::Badly, To::Failed, Outcome::Failed), (Exit::Unseen, To::Held, Outcome::Interrupted)]
    {
        let mut queue = queue(1, &[]);
        queue.runs(1, verified());
        assert_eq!(queue.ends(1, Exit::Well, Some(true), Remedy::Again), [Action::Verify(1)]);
        assert_eq!(queue.schedule.step_of(1), Some(Step::Verify));
        let expected = Move { id: 1, to, outcome: Some(outcome), step: Step::Verify, forgive: false };
        assert_eq!(queue.ends(1, exit, Some(true), Remedy::Again), [Action::Move(expected)]);
    }
    let mut queue = queue(1, &[]);
    queue.runs(1, verified());
    assert_eq!(queue.ends(1, Exit::Badly, None, Remedy::Again), moves(1, To::Failed, Outcome::Failed), "there is nothing to verify");
}

#[test]
fn it_is_cancelled_wherever_it_is() {
    let cancelled = |id, outcome| vec![Action::Move(Move { id, to: To::Cancelled, outcome, step: Step::Work, forgive: false })];
    let mut queue = queue(1, &[]);
    assert_eq!(queue.found(1, Spec::default(), &[]), [Action::Start(1)]);
    assert_eq!(queue.tell(Event::Cancel { id: 1 }), [], "when it has started");
    assert_eq!(queue.tell(Event::Started { id: 1, timeout: None }), [Action::End(1, Why::Cancelled)]);
    assert_eq!(queue.tell(Event::Cancel { id: 1 }), []);
    assert_eq!(queue.found(2, Spec::default(), &[]), []);
    assert_eq!(queue.tell(Event::Cancel { id: 2 }), cancelled(2, None));
    assert_eq!(queue.ends(1, Exit::Badly, Some(true), Remedy::Again), cancelled(1, Some(Outcome::Cancelled)));
    assert_eq!(queue.tell(Event::Found { id: 3, spec: Spec::default(), found: Found::Held }), []);
    assert_eq!(queue.schedule.counts(), (0, 0, 1));
    assert_eq!(queue.tell(Event::Cancel { id: 3 }), cancelled(3, None));
    // While it is on its way to another try.
    queue.runs(4, Spec { retries: 5, ..Spec::default() });
    let _ = queue.ends(4, Exit::Badly, None, Remedy::Again);
    assert_eq!(queue.tell(Event::Cancel { id: 4 }), []);
    assert!(!queue.schedule.rests(4));
    assert_eq!(queue.tell(Event::Moved { id: 4, done: true }), cancelled(4, None));
}

#[test]
fn stopped_means_that_none_runs_and_none_is_believed_done() {
    let mut queue = queue(2, &[]);
    queue.runs(1, Spec::default());
    queue.runs(2, Spec { idempotent: true, ..Spec::default() });
    assert_eq!(queue.tell(Event::Open(false)), []);
    assert_eq!(queue.tell(Event::EndAll), [Action::End(1, Why::Stopped), Action::End(2, Why::Stopped)]);
    assert_eq!(queue.ends(1, Exit::Well, None, Remedy::Again), moves(1, To::Held, Outcome::Interrupted));
    assert_eq!(queue.ends(2, Exit::Badly, None, Remedy::Again), moves(2, To::Pending(None), Outcome::Interrupted));
    for id in [1, 2] {
        assert_eq!(queue.tell(Event::Moved { id, done: true }), []);
    }
    assert_eq!((queue.schedule.counts(), queue.schedule.is_alive()), ((1, 0, 1), false));
    assert_eq!(queue.tell(Event::Open(true)), [Action::Start(2)]);
    let forgiven = Move { id: 1, to: To::Pending(None), outcome: None, step: Step::Work, forgive: true };
    assert_eq!(queue.tell(Event::Retry { id: 1 }), [Action::Move(forgiven)]);
    assert_eq!(queue.tell(Event::Moved { id: 1, done: true }), [Action::Start(1)]);
}

#[test]
fn trouble_that_is_none_of_the_tasks_costs_no_attempt() {
    let mut queue = queue(2, &[]);
    assert_eq!(queue.found(1, Spec::default(), &[]), [Action::Start(1)]);
    assert_eq!(queue.tell(Event::Trouble { id: 1 }), []);
    assert_eq!(queue.found(2, Spec::default(), &[]), [], "nothing is started for a moment");
    let at = queue.schedule.next_deadline().unwrap();
    assert_eq!(at, queue.now + TASK_TROUBLE_PAUSE);
    queue.now = at;
    assert_eq!(queue.tell(Event::Wake), [Action::Start(1), Action::Start(2)]);
    assert_eq!(queue.tell(Event::Impossible { id: 1 }), moves(1, To::Failed, Outcome::Failed));
    assert_eq!(queue.tell(Event::Moved { id: 1, done: false }), []);
    queue.now += TASK_TROUBLE_PAUSE;
    assert_eq!(queue.tell(Event::Wake), moves(1, To::Failed, Outcome::Failed), "a move that failed is repeated");
}
