//! What is to be seen in runs beside faults: that which a rule judges must have been there to be judged.

macro_rules! sights {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// Something that a rule judges.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Sight { $($(#[$doc])* $variant,)+ }

        impl Sight {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

sights! {
    /// Somebody follows a turn.
    Follower = "follower of a turn",
    /// One that takes its time.
    FollowerSlow = "slow follower of a turn",
    /// A follower connects anew in its process.
    Reconnect = "follower connects anew",
    /// A follower goes on in another life of a process, or in another process.
    ReconnectElsewhere = "follower goes on in another process",
    /// A call of a follower is dropped half-way.
    NextDropped = "call of a follower is dropped half-way",
    /// A call of a follower fails, and is made again.
    NextFailed = "call of a follower fails",
    /// A follower was told all.
    FollowedToEnd = "follower is told the whole turn",
    /// A follower is told that the turn's subject was purged.
    FollowedPurge = "follower is told of a purge",
    /// A record is told in the process that wrote it.
    RecordHere = "record told where it was written",
    /// A record is told in another process.
    RecordElsewhere = "record told in another process",
    /// A follower is told text.
    Text = "text told",
    /// The outcome takes the place of text that was told.
    TextAnswered = "outcome told behind its text",
    /// Text that was told is taken back.
    TextRetracted = "text retracted",
    /// An attempt whose text was taken back begins to speak anew, under its old number or the next.
    TextAnew = "text anew after it was retracted",
    /// A follower is too slow for text.
    TextLost = "text lost by a slow follower",
    /// A bill comes of an attempt that was settled.
    Bill = "bill of an attempt that was settled",
    /// A bill comes of an attempt that is reserved for.
    BillOfLive = "bill of an attempt that runs",
    /// A bill comes when the turn has ended.
    BillOfEnded = "bill of a turn that has ended",
    /// The same bill comes again.
    BillAgain = "the same bill again",
    /// An account is opened again.
    Reopened = "account opened that an overrun had closed",
    /// Who opens an account has not seen all of its overrun.
    ReopenRefused = "account not opened for another overrun",
    /// Guards did not let a question pass as it was.
    RuledBeforeModel = "ruling before a question that is no mere leave",
    /// Guards did not let a call pass as it was.
    RuledBeforeTool = "ruling before a call that is no mere leave",
    /// Guards did not let a result pass as it was.
    RuledAfterTool = "ruling on a result that is no mere leave",
    /// Guards did not let an answer pass as it was.
    RuledAfterModel = "ruling on an answer that is no mere leave",
    /// A call begins under what another owner's guards ruled.
    RuledByOther = "call under a ruling of an earlier epoch",
    /// Guards of another life are asked, because nothing was recorded of a ruling, or what it was on has changed.
    RuledAnew = "guards of another process are asked",
    /// A result is denied.
    Withheld = "result that guards denied",
    /// A child starts.
    ChildStarted = "child starts",
    /// A child has a child.
    ChildOfChild = "child of a child starts",
    /// A child answers its parent.
    ChildAnswered = "child answers",
    /// A child comes to another end.
    ChildFailed = "child ends without an answer",
    /// A child is told to give up, or to undo what it did.
    ChildCancelled = "child is cancelled by its parent",
    /// A child that has answered has undone what it did.
    ChildUndone = "child is undone",
    /// Something is said to a turn that runs.
    Steer = "said to a turn that runs",
    /// Something is said at once.
    Interruption = "said at once to a turn that runs",
    /// A planner is shown what was said.
    SteerShown = "planner shown what was said",
    /// What was said ends with the turn that took it up.
    SteerJoined = "said to a turn, and ends with it",
    /// What was said becomes the next turn.
    SteerNext = "said to a turn, and becomes the next",
    /// What was said is withdrawn.
    SteerWithdrawn = "said to a turn, and withdrawn",
    /// A step that had not begun is given up for an interruption.
    GivenUp = "step given up for an interruption",
    /// A step that had begun goes on at an interruption.
    GoesOn = "step goes on at an interruption",
}
