use std::fmt;

use analysis::{Observed, Requests, share};

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
    /// With its matches in one order, whichever they have come about in.
    #[must_use]
    pub fn in_order(mut self) -> Self {
        self.matches.sort();
        self.matches.dedup();
        self
    }

    /// This weight and nothing else.
    pub fn weight(weight: Weight) -> Self {
        Self { weight, ..Self::default() }
    }

    /// No request reaches the canary, nor a copy of one.
    pub fn is_nothing(&self) -> bool {
        self.weight == Weight::ZERO && self.is_weight()
    }

    /// It is told by its weight alone.
    pub fn is_weight(&self) -> bool {
        self.matches.is_empty() && self.mirror.is_none()
    }

    /// A share of everybody's requests reaches the canary, or a copy of a share. Without that, nobody has promised that any
    /// request comes.
    pub fn takes_a_share(&self) -> bool {
        self.weight > Weight::ZERO || self.mirror.is_some()
    }

    /// What the counts of both arms say about the weight; `None` where it doesn't decide alone who reaches the canary.
    pub fn share(&self, requests: &Requests) -> Option<Observed> {
        let between = self.weight > Weight::ZERO && self.weight < Weight::FULL;
        let decides = between && self.is_weight();
        let (canary, stable) = requests.canary.zip(requests.stable).filter(|_| decides)?;
        Some(share(whole(canary), whole(canary + stable), self.weight.percent()))
    }

    /// As a sentence of its own: who reaches the canary.
    pub fn sentence(&self) -> String {
        let kinds = kinds(&self.matches);
        let served = match (self.weight == Weight::ZERO, self.matches.is_empty()) {
            (true, true) if self.mirror.is_some() => None,
            (true, true) => Some("no request goes to the canary".to_owned()),
            (true, false) => Some(format!("requests with {kinds} go to the canary")),
            (false, true) => Some(format!("{} of the requests go to the canary", self.weight)),
            (false, false) => Some(format!(
                "{} of the requests and those with {kinds} go to the canary",
                self.weight
            )),
        };
        let mirrored = self.mirror.map(|share| format!("{share} of the requests are mirrored"));
        served.into_iter().chain(mirrored).collect::<Vec<_>>().join(", ")
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of requests: the cast stops at 0 and at the largest number"
)]
fn whole(requests: f64) -> u64 {
    requests.round() as u64
}

/// How many kinds of requests a sentence names, and with how many characters each: it has to fit into an event.
const NAMED: (usize, usize) = (3, 100);

fn kinds(matches: &[Match]) -> String {
    let (most, length) = NAMED;
    let named = matches.iter().take(most).map(|m| {
        let text = m.to_string();
        match text.char_indices().nth(length) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text,
        }
    });
    let mut parts: Vec<_> = named.collect();
    match matches.len().saturating_sub(most) {
        0 => {}
        more => parts.push(format!("{more} more")),
    }
    parts.join(" or ")
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
