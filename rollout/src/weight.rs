use std::fmt;

/// A share of the traffic or of the pods, in whole percent: 0 to 100 by construction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u8);

impl Weight {
    pub const ZERO: Self = Self(0);
    pub const FULL: Self = Self(100);

    /// `None` above 100.
    pub const fn new(percent: u8) -> Option<Self> {
        if percent <= 100 { Some(Self(percent)) } else { None }
    }

    pub const fn percent(self) -> u8 {
        self.0
    }

    /// What the other arm gets.
    #[must_use]
    pub const fn rest(self) -> Self {
        Self(100 - self.0)
    }

    /// How many pods the canary has for this share of a target with `replicas`: at least one, which is there to be looked at.
    pub fn canary_pods(self, replicas: u32) -> u32 {
        self.of(replicas).max(1)
    }

    /// How many of `replicas` pods carry this share: rounded up, so that no pod gets more than its part.
    pub fn of(self, replicas: u32) -> u32 {
        let pods = (u64::from(replicas) * u64::from(self.0)).div_ceil(100);
        u32::try_from(pods).unwrap_or(replicas)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

/// The content hash of a pod template. Equal templates have equal revisions, whenever they were written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(String);

impl Revision {
    pub fn new(hash: impl Into<String>) -> Self {
        Self(hash.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
