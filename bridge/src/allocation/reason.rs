//! Why a receiver gets of a source what it gets.

/// Why not more than that; the first that applies.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Reason {
    /// Its owner switched it off.
    SwitchedOff,
    /// The receiver's constraint for it is 0.
    #[default]
    NotWanted,
    /// Others come first within the receiver's last-n.
    LastN,
    /// No layer of it is being sent.
    Silent,
    /// More than the bandwidth is sent, on purpose: a screen on stage.
    Oversending,
    /// A source on stage has not got what it should have, and comes first.
    Stage,
    /// The bandwidth does not suffice.
    Bandwidth,
    /// The receiver's constraint for it excludes more.
    Constraint,
    /// There is no more.
    Best,
}

impl Reason {
    /// A name for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::SwitchedOff => "switched-off",
            Reason::NotWanted => "not-wanted",
            Reason::LastN => "last-n",
            Reason::Silent => "silent",
            Reason::Oversending => "oversending",
            Reason::Stage => "stage-first",
            Reason::Bandwidth => "bandwidth",
            Reason::Constraint => "constraint",
            Reason::Best => "best",
        }
    }
}

#[cfg(test)]
#[path = "reason_tests.rs"]
mod tests;
