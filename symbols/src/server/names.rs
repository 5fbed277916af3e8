//! What a definition states of a descriptor's fields: the keys of its file.

use serde::{Deserialize, Deserializer};

use crate::profile::{Op, PageState, RuleReason};
use crate::role::FieldRole;

/// A number, by itself or by name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Operand {
    /// A number.
    Number(i64),
    /// An enumerator.
    Enumerator(String),
}

/// Values of the state word, and what a block holds then.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateNames {
    /// The value, or the first of a range.
    pub value: Operand,
    /// The last value of a range.
    pub last: Option<i64>,
    /// Bits of the word that count; all when absent.
    pub mask: Option<u64>,
    /// What the block holds.
    pub holds: PageState,
}

/// A condition on a field.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConditionNames {
    /// The field.
    pub field: FieldRole,
    /// Comparison.
    pub op: Op,
    /// What with; the first value of a range.
    pub value: Operand,
    /// The last value of a range.
    pub last: Option<i64>,
    /// Bits of the field that count; all when absent.
    pub mask: Option<u64>,
}

/// A condition of the clean rule.
#[derive(Clone, Debug, Deserialize)]
pub struct RuleNames {
    /// What must hold.
    #[serde(flatten)]
    pub condition: ConditionNames,
    /// What the page is when it does not.
    pub reason: RuleReason,
}

/// How reads and writes are distinguished.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IoNames {
    /// Holds while the page is being read.
    pub reading: ConditionNames,
    /// Holds while it is being written.
    pub writing: ConditionNames,
}

/// A value by itself, or a list of them.
pub(super) fn one_or_more<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore<T> {
        One(T),
        More(Vec<T>),
    }
    Ok(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(one) => vec![one],
        OneOrMore::More(more) => more,
    })
}
