//! Whether a text that was typed has left its program's input box: when Enter is pressed, when once more, and when the text counts as taken.
//!
//! A program that has read Enter has not yet done anything with it: one that just started drops it, one that was pasted into a moment ago takes it for a
//! line break. Where the backend says how a text in the box looks, Enter waits until ours stands there, and the text is taken once it does no more.

use std::time::Duration;

use super::limits;

/// A text whose last piece, Enter, is yet to be pressed or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submit {
    at: At,
    /// When to look, whatever is printed until then.
    due: Duration,
    /// Since when it has printed what was not looked at.
    unseen: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// It was read; until then it may show in the box.
    Text { by: Duration },
    /// Enter was read too, so often; then it may be pressed again. `shown`: it was seen in the box; `stays`: also since then;
    /// `gone`: since when it is not.
    Enter { presses: u32, again: Duration, shown: bool, stays: bool, gone: Option<Duration> },
}

/// What one look at the screen has shown.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// The text stands in the input box.
    pub in_box: bool,
    /// The program shows that it takes input: an empty box, for most.
    pub ready: bool,
    /// The program asks a person something.
    pub asks: bool,
}

/// What follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Next {
    PressEnter,
    Wait,
    Taken,
}

impl Submit {
    /// All but Enter was read, or, if `entered`, Enter too.
    pub fn new(now: Duration, entered: bool) -> Submit {
        let at = if entered {
            At::Enter { presses: 1, again: now + limits::ENTER_BLIND, shown: false, stays: false, gone: None }
        } else {
            At::Text { by: now + limits::ENTER_BLIND }
        };
        Submit { at, due: now + limits::PAUSE, unseen: None }
    }

    /// When to look; none: not before it prints.
    pub fn next_look(&self) -> Option<Duration> {
        (self.due < Duration::MAX).then_some(self.due)
    }

    /// The program printed.
    pub fn printed(&mut self, now: Duration) {
        let first = *self.unseen.get_or_insert(now);
        // A pause first: a screen that is half drawn tells nothing, and what is pressed right after a paste may be taken for a part of it.
        let calm = (now + limits::PAUSE).min(first + limits::ENTER_LOOK_LATEST);
        self.due = calm.min(self.limit().max(now));
    }

    /// Enter, which was pressed again, was read.
    pub fn read(&mut self, now: Duration) {
        self.due = now + limits::PAUSE;
    }

    /// Whether it is known to have stayed in the box, although Enter was read.
    pub fn stays(&self) -> bool {
        matches!(self.at, At::Enter { stays: true, .. })
    }

    /// The screen was looked at.
    pub fn look(&mut self, now: Duration, seen: Seen) -> Next {
        self.unseen = None;
        let next = match &mut self.at {
            // Enter would answer the question.
            At::Text { .. } if seen.asks => Next::Wait,
            At::Text { by } if seen.in_box || now >= *by => Next::PressEnter,
            At::Text { .. } => Next::Wait,
            // What was never seen there cannot be seen to leave: a slow program may be about to draw it.
            At::Enter { shown: false, again, .. } if !seen.in_box => {
                if now >= *again {
                    Next::Taken
                } else {
                    Next::Wait
                }
            }
            // Programs erase the box to draw it anew, and may be stopped between the two.
            At::Enter { gone, .. } if !seen.in_box => {
                let since = *gone.get_or_insert(now);
                if seen.ready || now >= since + limits::ENTER_GONE { Next::Taken } else { Next::Wait }
            }
            At::Enter { presses, again, shown, stays, gone } => {
                (*shown, *stays, *gone) = (true, true, None);
                if !seen.asks && now >= *again && *presses < limits::ENTER_PRESSES_MAX { Next::PressEnter } else { Next::Wait }
            }
        };
        match next {
            Next::PressEnter => {
                let presses = match self.at {
                    At::Text { .. } => 1,
                    At::Enter { presses, .. } => presses + 1,
                };
                let again = if seen.in_box { limits::ENTER_AGAIN * (1 << (presses - 1)) } else { limits::ENTER_BLIND };
                self.at = At::Enter { presses, again: now + again, shown: seen.in_box, stays: false, gone: None };
                self.due = now + limits::PAUSE;
            }
            // Nothing is pressed before the question is answered, and that shows.
            Next::Wait if seen.asks && !matches!(self.at, At::Enter { gone: Some(_), .. }) => self.due = Duration::MAX,
            Next::Wait => self.due = self.limit(),
            Next::Taken => {}
        }
        next
    }

    /// When it is time to look although nothing was printed.
    fn limit(&self) -> Duration {
        match self.at {
            At::Text { by } => by,
            At::Enter { gone: Some(since), .. } => since + limits::ENTER_GONE,
            At::Enter { presses, again, shown, .. } if presses < limits::ENTER_PRESSES_MAX || !shown => again,
            At::Enter { .. } => Duration::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: Seen = Seen { in_box: true, ready: false, asks: false };
    const GONE: Seen = Seen { in_box: false, ready: true, asks: false };
    const ASKS: Seen = Seen { in_box: false, ready: false, asks: true };

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn enter_is_pressed_when_the_text_stands_there_and_it_is_taken_when_it_does_no_more() {
        let mut submit = Submit::new(ms(0), false);
        assert_eq!(submit.next_look(), Some(ms(50)));
        assert_eq!(submit.look(ms(50), GONE), Next::Wait, "it is not drawn yet");
        assert_eq!(submit.next_look(), Some(limits::ENTER_BLIND));
        submit.printed(ms(300));
        assert_eq!(submit.next_look(), Some(ms(350)));
        assert_eq!(submit.look(ms(350), BOX), Next::PressEnter);
        submit.read(ms(352));
        assert_eq!(submit.look(ms(402), BOX), Next::Wait, "it has not done anything with it yet");
        assert!(submit.stays());
        submit.printed(ms(500));
        assert_eq!(submit.look(ms(550), GONE), Next::Taken);
    }

    #[test]
    fn who_keeps_it_gets_enter_again_and_not_for_ever() {
        let mut submit = Submit::new(ms(0), false);
        let mut pressed = vec![];
        while let Some(now) = submit.next_look() {
            if submit.look(now, BOX) == Next::PressEnter {
                pressed.push(now.as_millis());
            }
        }
        assert_eq!(pressed, [50, 1050, 3050]);
        assert!(submit.stays());
        // Somebody presses it by hand.
        submit.printed(ms(90_000));
        assert_eq!(submit.look(ms(90_050), GONE), Next::Taken);
    }

    #[test]
    fn what_never_shows_is_entered_all_the_same_but_no_question_is_answered() {
        let mut submit = Submit::new(ms(0), false);
        assert_eq!(submit.look(ms(50), GONE), Next::Wait);
        assert_eq!(submit.look(limits::ENTER_BLIND, ASKS), Next::Wait);
        assert_eq!(submit.next_look(), None, "until it has been answered");
        submit.printed(ms(60_000));
        let now = submit.next_look().unwrap();
        assert_eq!(submit.look(now, GONE), Next::PressEnter);
        assert_eq!(submit.look(now + ms(50), GONE), Next::Wait, "that says nothing");
        let mut late = submit;
        assert_eq!(submit.next_look(), Some(now + limits::ENTER_BLIND));
        assert_eq!(submit.look(now + limits::ENTER_BLIND, GONE), Next::Taken);
        // It draws at last, and has made a line break of Enter.
        late.printed(now + ms(2000));
        assert_eq!(late.look(now + ms(2050), BOX), Next::Wait);
        let now = late.next_look().unwrap();
        assert_eq!(late.look(now, BOX), Next::PressEnter);
        assert_eq!(late.look(now + ms(50), GONE), Next::Taken);
    }

    #[test]
    fn a_box_that_is_being_drawn_anew_is_not_an_empty_one() {
        const ERASED: Seen = Seen { in_box: false, ready: false, asks: false };
        let mut submit = Submit::new(ms(0), false);
        assert_eq!(submit.look(ms(50), BOX), Next::PressEnter);
        assert_eq!(submit.look(ms(100), ERASED), Next::Wait);
        assert_eq!(submit.next_look(), Some(ms(100) + limits::ENTER_GONE));
        let mut drawn = submit;
        assert_eq!(drawn.look(ms(300), BOX), Next::Wait, "there it is again");
        assert_eq!(drawn.look(ms(2000), BOX), Next::PressEnter);
        // Or it is gone, and something else stands where the box was.
        assert_eq!(submit.look(ms(100) + limits::ENTER_GONE, ERASED), Next::Taken);
        // Also a question.
        let mut asked = Submit::new(ms(0), false);
        assert_eq!(asked.look(ms(50), BOX), Next::PressEnter);
        assert_eq!(asked.look(ms(100), ASKS), Next::Wait);
        assert_eq!(asked.look(asked.next_look().unwrap(), ASKS), Next::Taken);
    }

    #[test]
    fn one_that_draws_without_end_is_looked_at_in_between() {
        let mut submit = Submit::new(ms(0), true);
        for now in (0..400).step_by(10) {
            submit.printed(ms(now));
        }
        assert!(submit.next_look().unwrap() <= ms(400));
    }
}
