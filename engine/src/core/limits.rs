//! Every limit of the engine, each with its reason.

use std::time::Duration;

/// An agent that ran this long was healthy: what went wrong before it is forgotten.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(600);

/// An agent that ran this long has a conversation worth going on with; one that died sooner may never have had one.
pub const CONVERSATION_AFTER: Duration = Duration::from_secs(10);

/// A program at its usage limit that does not say until when is tried again after this: limits last hours, and a try costs a start.
pub const LIMIT_UNNAMED: Duration = Duration::from_secs(1800);

/// So much is kept free for the words on how a task's program ended: they hold a line of its output.
pub const TASK_END_BYTES: usize = 2048;

/// One that ends with a limit whose time has come is tried again after this: its clock may be another, and each try costs a start.
pub const LIMIT_PASSED: Duration = Duration::from_secs(60);

/// No program's word on its limit is believed beyond this: the longest known last a week.
pub const LIMIT_MAX: Duration = Duration::from_secs(8 * 86_400);

/// So many of the last lines on its screen say why a program ended; above them stands what it worked on.
pub const LAST_LINES: usize = 15;

/// After an agent printed something, its open files are looked through at most this often for what names its conversation, until that is found.
pub const LOOK_FOR_CONVERSATION: Duration = Duration::from_millis(200);

/// After a boot so many sessions are brought back at once: each logs in, reads its conversation and takes memory for it.
pub const RESTORE_AT_ONCE: usize = 4;

/// A session that was brought back after a boot and says nothing makes room for the next after this.
pub const RESTORE_PATIENCE: Duration = Duration::from_secs(3);

/// A program that does not tell its version by then does not tell it: one that runs on an interpreter takes six seconds on a busy machine (seen).
pub const VERSION_WAIT: Duration = Duration::from_secs(30);

/// What a program prints for its version beyond this is not read.
pub const VERSION_BYTES_MAX: usize = 4 << 10;

/// Repeated deaths within this time belong together.
pub const STORM_WINDOW: Duration = Duration::from_secs(60);
/// Fewer sessions than this that die again and again are ill by themselves.
pub const STORM_SESSIONS_MIN: usize = 3;
/// One in so many of a project's sessions has to be among them.
pub const STORM_SHARE: usize = 4;
/// The first common pause; short, as the cause may be gone already.
pub const STORM_PAUSE_MIN: Duration = Duration::from_secs(5);
/// Pauses double up to this: so long after the end of an outage the last try may come.
pub const STORM_PAUSE_MAX: Duration = Duration::from_secs(300);
/// They come back one after the other: what they all need is scarce.
pub const STORM_STEP: Duration = Duration::from_millis(250);

/// A host that dies is replaced at once; the second time within [`HOST_WINDOW`] after this, then doubling: a host that cannot live must not
/// take the machine with it.
pub const HOST_BACKOFF_MIN: Duration = Duration::from_millis(20);
/// The longest wait between two tries to have a host.
pub const HOST_BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Within this time deaths of a host count together.
pub const HOST_WINDOW: Duration = Duration::from_secs(60);

/// A host waits so long for the lock of its session: the one before it may be at its end, and holds it until the kernel is done with it.
pub const HOST_LOCK_WAIT: Duration = Duration::from_secs(2);

/// A host that lost its watchdog and could neither start nor reach a new one looks again after this, then ever less often: another host may be at it, or the
/// dead one still holds its lock: the kernel ends a process's descriptors one after the other.
pub const WATCHDOG_RETRY_MIN: Duration = Duration::from_millis(2);

/// At least this often.
pub const WATCHDOG_RETRY_MAX: Duration = Duration::from_secs(1);

/// A watchdog, or its standby, that ends within this of its beginning is started again no sooner: what cannot live must not take the machine with it.
pub const STANDBY_PAUSE: Duration = Duration::from_millis(100);

/// Something missing that the kernel does not watch for, because too much is watched already, is looked for after this, then ever less often.
pub const LOOK_AGAIN_MIN: Duration = Duration::from_secs(1);

/// At least this often.
pub const LOOK_AGAIN_MAX: Duration = Duration::from_secs(60);

/// Leftovers of an agent that died by itself get this long between TERM and KILL: nobody waits for their farewell, the next agent does.
pub const LEFTOVER_GRACE: Duration = Duration::from_millis(500);

/// A client that takes no output is sent nothing more beyond this, and the whole screen once it takes again.
pub const CLIENT_QUEUE_BYTES_MAX: usize = 1 << 20;

/// What is typed into a terminal and not read by its program beyond this is refused.
pub const INPUT_QUEUE_BYTES_MAX: usize = 4 << 20;

/// A message is typed in pieces of at most this many bytes, the next one when the last was read: each fits whole into the kernel's buffer then, and
/// no write of one is cut short (seen with 32 KiB).
pub const PIECE_BYTES_MAX: usize = 4 << 10;

/// A message of more bytes is a file: its path is better sent.
pub const MAIL_BYTES_MAX: usize = 4 << 20;

/// More messages than this waiting for one agent: whoever sends them should hear of it.
pub const MAIL_WAITING_MAX: usize = 1000;

/// So many messages are remembered after they were taken or dropped, for those who wait to hear of it.
pub const MAIL_SETTLED_KEPT: usize = 100;

/// A program that has just started is given mail when it has printed nothing for this long.
pub const MAIL_SETTLE: Duration = Duration::from_millis(100);

/// One that prints nothing at all, after this.
pub const MAIL_SETTLE_SILENT: Duration = Duration::from_secs(1);

/// A program with an input box is not typed to before it asks for pastes, or has run for this long: one on an interpreter takes its time to start.
pub const PASTE_WAIT: Duration = Duration::from_secs(30);

/// The screen is looked at when the program has printed nothing for this long.
pub const PAUSE: Duration = Duration::from_millis(50);

/// A text that was read and does not show in its program's input box is followed by Enter after this, and counts as taken after as long again: some texts are
/// drawn in no way that is known. A busy machine takes seconds to draw (seen).
pub const ENTER_BLIND: Duration = Duration::from_secs(4);

/// A text that stays in the input box gets Enter again after this, then after ever longer: a busy program takes its time to draw, and Enter on an empty box
/// does nothing.
pub const ENTER_AGAIN: Duration = Duration::from_secs(1);

/// A text that is seen to have left a box which is not seen empty counts as taken after this: the box may be about to be drawn anew.
pub const ENTER_GONE: Duration = Duration::from_secs(1);

/// So often Enter is pressed for one text; then somebody has to look.
pub const ENTER_PRESSES_MAX: u32 = 3;

/// A program that draws without a pause is looked at after this, while a text is in its input box.
pub const ENTER_LOOK_LATEST: Duration = Duration::from_millis(250);

/// A screen that goes on saying the same is looked at ever less often, down to once in this: a spinner turns for hours.
pub const LOOK_PAUSE_MAX: Duration = Duration::from_secs(1);

/// One that works and prints nothing for this long hangs: programs that work draw a moving sign of it, or at least a line now and then.
pub const SILENCE: Duration = Duration::from_secs(600);

/// A stalled agent is resumed so often before it is left alone: who was told thrice to go on and did not will not, and each try costs a turn.
pub const STALL_RESTARTS_MAX: u32 = 3;

/// What happens to several sessions within this is told as one event.
pub const NOTICE_SETTLE: Duration = Duration::from_millis(500);

/// A command that tells people, or a webhook, is ended after this: what takes longer helps nobody.
pub const NOTICE_LIMIT: Duration = Duration::from_secs(10);

/// More notices than this waiting: the oldest are dropped.
pub const NOTICES_MAX: usize = 1000;

/// A hook's word that an agent works is forgotten when nothing was printed for this long: who is interrupted calls no hook.
pub const HOOK_QUIET: Duration = Duration::from_secs(120);

/// What a hook says of what its agent waits for is cut to this many bytes: it is shown in one line.
pub const HOOK_BYTES_MAX: usize = 300;

/// A program's own record is read up to this size; those seen have a few hundred bytes.
pub const RECORD_BYTES_MAX: u64 = 64 << 10;

/// The kernel takes lines of at most this many bytes in a terminal's line mode and silently drops the rest (n_tty, `N_TTY_BUF_SIZE` less one).
pub const LINE_MODE_BYTES_MAX: usize = 4095;

/// A daemon that has said nothing for this long while somebody waits may have been stopped: that is looked at, then ever less often.
pub const SILENCE_MIN: Duration = Duration::from_secs(1);

/// At least this often.
pub const SILENCE_MAX: Duration = Duration::from_secs(8);

/// How many clients one host or watchdog serves at once.
pub const CLIENTS_MAX: usize = 256;

/// Descriptors that a watchdog keeps free of sessions: for commands that connect, and for the moment in which it starts a host.
pub const DESCRIPTORS_RESERVED: u64 = 16;

/// A terminal's log is exchanged for a new one at this length and the one before it kept: so much history there is at least.
pub const LOG_SEGMENT_BYTES: u64 = 8 << 20;

/// Terminals larger than this are not believed: their screens would take all memory.
pub const TERMINAL_CELLS_MAX: u16 = 1000;

/// A computed screen is kept up to date for this much output after it was last asked for, then dropped.
pub const SCREEN_UNUSED_BYTES_MAX: usize = 1 << 20;

/// So many lines of scrollback are given to a new pane of tmux: they are computed and sent while its session waits.
pub const PANE_HISTORY_LINES: usize = 10_000;

/// What a pane keeps of what scrolls away, in lines; tmux takes memory for what is there only.
pub const TMUX_HISTORY_LINES: usize = 50_000;

/// tmux answers within milliseconds; on a machine that is overloaded, within this. One that takes longer is taken for hung.
pub const TMUX_PATIENCE: Duration = Duration::from_secs(10);

/// Somebody who only looks, or wants to attach, waits this long for tmux.
pub const TMUX_GLANCE: Duration = Duration::from_secs(3);

/// A pane's client whose host ended has this long to end too.
pub const PANE_FAREWELL: Duration = Duration::from_secs(2);

/// How long an attached client waits for the next host, which is there within milliseconds if at all.
pub const HOST_RETURN: Duration = Duration::from_secs(5);

/// Of what an agent says about its task so much is kept: it is a note, and more belongs into a file of its own.
pub const SENTINEL_BYTES_MAX: u64 = 64 << 10;

/// The wait before the second attempt at a task; it doubles with each that fails.
pub const TASK_BACKOFF_MIN: Duration = Duration::from_millis(500);
/// The longest: whatever is amiss for longer is no matter of waiting.
pub const TASK_BACKOFF_MAX: Duration = Duration::from_secs(300);

/// An agent that has said how its task went gets so long to end by itself: some say a last word to whoever reads the log.
pub const TASK_FAREWELL: Duration = Duration::from_secs(5);

/// Where no task can be started, or no move be written, for a reason that is none of the task's (a full disk), it is tried again after this.
pub const TASK_TROUBLE_PAUSE: Duration = Duration::from_secs(5);

/// So many moves of tasks are made durable together: each of them waits for all.
pub const TASK_MOVES_AT_ONCE: usize = 64;

/// A prompt of more bytes is a file in the project, which a prompt can name; every look at the queue reads it.
pub const TASK_PROMPT_BYTES_MAX: usize = 8 << 20;

/// A file of more bytes is no list of tasks that somebody wrote.
pub const TASK_FILE_BYTES_MAX: u64 = 64 << 20;

/// So many tasks are added from one file: they are all in memory while they are checked.
pub const TASKS_AT_ONCE_MAX: usize = 10_000;

/// So many adders that were interrupted at the last moment are remembered, so that their tasks are not added twice.
pub const TASK_BATCHES_UNTOLD_MAX: usize = 16;

/// An attempt that may take longer than a year has no limit at all.
pub const TASK_TIMEOUT_MAX: Duration = Duration::from_secs(365 * 86_400);

/// So many tasks go to the archive with one sync.
pub const TASKS_ARCHIVED_AT_ONCE: usize = 500;
