use super::*;
use crate::contract::task::{Attempt, End, Outcome, Prompt, Said};

struct Queue {
    folder: tempfile::TempDir,
    layout: Layout,
}

fn queue() -> Queue {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::from_folders(&folder.path().join("data"), &folder.path().join("run"));
    fs::create_dirs(&layout.runtime).unwrap();
    prepare(&layout).unwrap();
    Queue { folder, layout }
}

fn task(id: TaskId) -> Task {
    Task {
        task: id,
        agent: "lead".into(),
        by: "operator".into(),
        created_at: clock::now(),
        prompt: Prompt(b"go".to_vec()),
        ..Task::default()
    }
}

fn added(queue: &Queue) -> TaskId {
    let id = TaskId(*reserve(&queue.layout, 1).unwrap().start());
    add(&queue.layout, &[task(id)]).unwrap();
    id
}

fn moved(queue: &Queue, from: Place, to: Place, id: TaskId) -> Result<()> {
    let task = Task { to: Some(to), ..read_at(&queue.layout, from, id)? };
    settle(&queue.layout, &[Move { from, task }]).remove(0)
}

fn put_away(layout: &Layout, id: TaskId, end: End) -> Vec<TaskId> {
    let lock = archive::lock(layout).unwrap();
    let (put, errors) = archive::put_away(layout, &lock, &[(clock::now(), (id, end))]);
    assert_eq!(errors.len(), 0);
    put
}

#[test]
fn the_folder_is_the_state() {
    let queue = queue();
    let layout = &queue.layout;
    let id = added(&queue);
    assert_eq!(read(layout, id).unwrap().unwrap().0, Place::Pending);
    assert!(claim(layout, id).unwrap());
    assert!(!claim(layout, id).unwrap(), "by one only");
    make_claim_durable(layout, id).unwrap();
    let attempt = Attempt { started_ms: 7, ..Attempt::default() };
    write_begun(layout, id, &Begun { n: 0, attempt: attempt.clone() }).unwrap();
    let (place, running) = read(layout, id).unwrap().unwrap();
    assert_eq!((place, running.attempts), (Place::Running, vec![attempt]));
    sentinel::say(&layout.task(Place::Running, id), &Said::Error { reason: "no\nway".into() }).unwrap();
    moved(&queue, Place::Running, Place::Pending, id).unwrap();
    let (place, again) = read(layout, id).unwrap().unwrap();
    assert_eq!((place, again.attempts.len()), (Place::Pending, 1));
    assert_eq!(list(layout, Place::Pending).unwrap(), [id], "now as a folder");
    assert_eq!(sentinel::said(&layout.task(Place::Pending, id), None), None, "of the attempt before");
    assert!(claim(layout, id).unwrap());
    moved(&queue, Place::Running, Place::Finished(End::Done), id).unwrap();
    assert!(moved(&queue, Place::Running, Place::Held, id).is_err(), "it is not there any more");
    assert_eq!(place_of(layout, id), Some(Place::Finished(End::Done)));
    assert_eq!(counts(layout).unwrap(), TaskCounts::default());
    assert_eq!(put_away(layout, id, End::Done), [id]);
    assert_eq!(put_away(layout, id, End::Done), [], "it is not there any more");
    assert_eq!((place_of(layout, id), state(layout, id)), (None, Some(Place::Finished(End::Done))));
    assert_eq!(read(layout, id).unwrap().unwrap().1.task, id);
}

fn place_of(layout: &Layout, id: TaskId) -> Option<Place> {
    place(layout, id)
}

#[test]
fn one_that_never_ran_is_finished_too() {
    let queue = queue();
    let id = added(&queue);
    moved(&queue, Place::Pending, Place::Finished(End::Cancelled), id).unwrap();
    assert_eq!(place(&queue.layout, id), Some(Place::Finished(End::Cancelled)));
    assert!(moved(&queue, Place::Pending, Place::Finished(End::Cancelled), id).is_err());
    assert_eq!(list(&queue.layout, Place::Pending).unwrap(), []);
}

#[test]
fn a_move_that_was_decided_is_told_from_one_that_was_done() {
    let queue = queue();
    let layout = &queue.layout;
    let id = added(&queue);
    assert!(claim(layout, id).unwrap());
    write_begun(layout, id, &Begun { n: 0, attempt: Attempt::default() }).unwrap();
    let mut task = read_at(layout, Place::Running, id).unwrap();
    assert_eq!(task.to, None);
    (task.to, task.attempts[0].outcome) = (Some(Place::Pending), Some(Outcome::Failed));
    let half = Move { from: Place::Running, task };
    decide(layout, &half).unwrap();
    let found = read_at(layout, Place::Running, id).unwrap();
    assert_eq!((found.to, found.attempts.len()), (Some(Place::Pending), 1));
    finish_move(layout, &half).unwrap();
    assert!(claim(layout, id).unwrap());
    write_begun(layout, id, &Begun { n: 1, attempt: Attempt::default() }).unwrap();
    let found = read_at(layout, Place::Running, id).unwrap();
    assert_eq!((found.to, found.attempts.len()), (None, 2));
}

#[test]
fn a_thousand_at_once_get_a_thousand_numbers() {
    let queue = queue();
    let ids: std::collections::BTreeSet<u64> = std::thread::scope(|scope| {
        let writers: Vec<_> =
            (0..20).map(|_| scope.spawn(|| (0..50).map(|_| *reserve(&queue.layout, 1).unwrap().start()).collect::<Vec<_>>())).collect();
        writers.into_iter().flat_map(|w| w.join().unwrap()).collect()
    });
    assert_eq!(ids, (1..=1000).collect());
    assert_eq!(reserve(&queue.layout, 10).unwrap(), 1001..=1010);
}

#[test]
fn no_number_comes_twice_whatever_is_lost() {
    let queue = queue();
    let layout = &queue.layout;
    let last = layout.tasks().join("last");
    let ids: Vec<TaskId> = (0..5).map(|_| added(&queue)).collect();
    moved(&queue, Place::Pending, Place::Finished(End::Failed), ids[4]).unwrap();
    // After another boot it may be older than the tasks.
    for stale in ["", "00000000000000000002 another-boot\n", "garbage"] {
        std::fs::write(&last, stale).unwrap();
        assert_eq!(reserve(layout, 1).unwrap(), 6..=6, "{stale:?}");
    }
    note(layout).unwrap();
    assert_eq!(put_away(layout, ids[4], End::Failed), [ids[4]]);
    fs::remove_tree(&layout.tasks().join("archive")).unwrap();
    let text = std::fs::read_to_string(&last).unwrap();
    std::fs::write(&last, text.replace(&clock::boot_id(), "another-boot")).unwrap();
    assert_eq!(reserve(layout, 1).unwrap(), 7..=7);
}

#[test]
fn what_is_damaged_is_named_and_the_rest_works() {
    let queue = queue();
    let layout = &queue.layout;
    let (one, two) = (added(&queue), added(&queue));
    std::fs::write(pending_file(layout, one), b"{\"task\": \"t1\"").unwrap();
    std::fs::copy(pending_file(layout, two), pending_file(layout, TaskId(9))).unwrap();
    assert!(read(layout, one).unwrap_err().message.contains("t1.json"));
    assert!(read(layout, TaskId(9)).unwrap_err().message.contains("holds task t2"));
    assert_eq!(read(layout, two).unwrap().unwrap().1.task, two);
    assert_eq!(read(layout, TaskId(77)).unwrap(), None);
    for name in ["t01.json", "x.json", "t3.json.json", "..", ".t4.json.1.0.tmp"] {
        assert_eq!(id_of(name), None, "{name}");
    }
}

#[test]
fn leftovers_of_the_dead_go() {
    let queue = queue();
    let layout = &queue.layout;
    fs::append(&layout.tasks().join(".t2.json.999999999.0.tmp"), b"{").unwrap();
    let ours = layout.tasks().join(format!(".t3.json.{}.0.tmp", std::process::id()));
    fs::append(&ours, b"{").unwrap();
    fs::create_dirs(&layout.task(Place::Running, TaskId(5))).unwrap();
    sweep(layout).unwrap();
    let left: Vec<String> = fs::list(&layout.tasks()).unwrap().into_iter().filter(|n| n.starts_with('.')).collect();
    assert_eq!(left, [ours.file_name().unwrap().to_string_lossy()]);
    assert_eq!(list(layout, Place::Running).unwrap(), []);
}

#[test]
fn what_an_agent_says_is_taken_in_whatever_form() {
    let queue = queue();
    let (folder, worktree) = (queue.folder.path().join("t1"), queue.folder.path().join("w"));
    fs::create_dirs(&folder).unwrap();
    fs::create_dirs(&worktree.join(sentinel::IN_WORKTREE)).unwrap();
    let said = || sentinel::said(&folder, Some(&worktree));
    assert_eq!(said(), None);
    for (text, note) in [("", ""), ("all good\n", "all good"), (r#"{"note": "a\nb"}"#, "a\nb"), ("{\"x\": 1}", ""), ("[1]", "[1]")] {
        std::fs::write(worktree.join(".agents-task/done"), text).unwrap();
        assert_eq!(said(), Some(Said::Done { note: note.into() }), "{text:?}");
    }
    std::fs::write(folder.join(".error"), b"bro\xffken").unwrap();
    assert_eq!(said(), Some(Said::Error { reason: "bro\u{fffd}ken".into() }), "the worse word counts");
    assert!(sentinel::begin(&folder, Step::Work).unwrap() && !sentinel::begin(&folder, Step::Work).unwrap());
}

use crate::contract::task::Step;

#[test]
fn stopped_is_remembered() {
    let queue = queue();
    assert!(!are_stopped(&queue.layout));
    stop(&queue.layout, true).unwrap();
    assert!(are_stopped(&queue.layout));
    stop(&queue.layout, false).unwrap();
    assert!(!are_stopped(&queue.layout));
}
