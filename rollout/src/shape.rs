use std::fmt;

use crate::Weight;

/// What the route looks like: who reaches the canary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// The canary's share of the requests that nothing else decides about.
    pub weight: Weight,
    /// Requests that reach the canary whatever the weight: those that any of these matches.
    pub matches: Vec<Match>,
    /// The share of the requests that the canary gets a copy of, and whose answers nobody gets.
    pub mirror: Option<Weight>,
}

/// A kind of request: all conditions hold. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Match(Vec<Condition>);

/// One thing that a request has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    pub part: Part,
    /// Of the header (in lower case), the cookie or the query parameter.
    pub name: String,
    pub value: Pattern,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Header,
    Cookie,
    Query,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    Exact(String),
    /// RE2, matched against the whole value.
    Regex(String),
}

impl Shape {
    /// This weight and nothing else.
    pub fn weight(weight: Weight) -> Self {
        Self { weight, ..Self::default() }
    }

    /// No request reaches the canary, nor a copy of one.
    pub fn is_nothing(&self) -> bool {
        self.weight == Weight::ZERO && self.matches.is_empty() && self.mirror.is_none()
    }
}

impl Match {
    /// `None` without a condition: that would be everybody.
    pub fn new(mut conditions: Vec<Condition>) -> Option<Self> {
        conditions.sort();
        (!conditions.is_empty()).then_some(Self(conditions))
    }

    /// In a fixed order, whatever they were given in.
    pub fn conditions(&self) -> &[Condition] {
        &self.0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.weight)?;
        for (i, m) in self.matches.iter().enumerate() {
            write!(f, "{}{m}", if i == 0 { " and requests with " } else { " or " })?;
        }
        self.mirror.map_or(Ok(()), |mirror| write!(f, ", {mirror} mirrored"))
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, condition) in self.0.iter().enumerate() {
            write!(f, "{}{condition}", if i == 0 { "" } else { " and " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            Part::Header => "header",
            Part::Cookie => "cookie",
            Part::Query => "query parameter",
        };
        match &self.value {
            Pattern::Exact(value) => write!(f, "{part} {}={value}", self.name),
            Pattern::Regex(regex) => write!(f, "{part} {} matching {regex}", self.name),
        }
    }
}
