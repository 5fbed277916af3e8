//! Which function of a build is which of a known one.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::code::{Line, MaskedCode};
use super::fingerprint::{Build, Constant, Fingerprint, KnownFunction, Used, constant};
use crate::elf::Program;

/// Most bytes of a function that only returns.
const BARE: u64 = 1;

/// What a function of the known build is in the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// Nothing that is it alone.
    None,
    /// The function of this number.
    Is(usize),
    /// One of several that are alike: its code is there, but which it is, is not known.
    There,
}

/// The functions of the known build in the other one, by their numbers in the fingerprint.
pub(super) struct Matching {
    pub(super) found: Vec<Match>,
    /// How many were found with other line numbers.
    pub(super) moved_lines: usize,
}

/// Pairs functions.
pub(super) fn pair(known: &Fingerprint, build: &Build, program: &Program) -> Matching {
    let mut pairing = Pairing {
        known: &known.functions,
        build,
        program,
        found: vec![Match::None; known.functions.len()],
        taken: HashMap::new(),
        spoiled: vec![false; known.functions.len()],
        queue: VecDeque::new(),
    };
    pairing.distinct();
    pairing.propagate();
    pairing.in_place();
    pairing.in_number();
    pairing.lines_of_sources();
    let moved_lines = (0..known.functions.len())
        .filter(|index| match pairing.found[*index] {
            Match::Is(number) => {
                pairing.code(number).is_some_and(|code| code.hash != known.functions[*index].hash)
            }
            _ => false,
        })
        .count();
    Matching { found: pairing.found, moved_lines }
}

struct Pairing<'a> {
    known: &'a [KnownFunction],
    build: &'a Build,
    program: &'a Program,
    found: Vec<Match>,
    /// Whose each function of the build is.
    taken: HashMap<usize, usize>,
    /// Functions that two ways lead to different places for.
    spoiled: Vec<bool>,
    queue: VecDeque<usize>,
}

impl<'a> Pairing<'a> {
    fn code(&self, number: usize) -> Option<&'a MaskedCode> {
        self.build.codes.get(number)?.as_ref()
    }

    /// Functions whose code is that of one function in both builds.
    fn distinct(&mut self) {
        let only = |hash: fn(&MaskedCode) -> u64| {
            let mut only = HashMap::<u64, Option<usize>>::new();
            for (number, code) in self.build.codes.iter().enumerate() {
                let Some(code) = code else { continue };
                only.entry(hash(code)).and_modify(|known| *known = None).or_insert(Some(number));
            }
            only
        };
        let (by_hash, by_unlined) = (only(|code| code.hash), only(|code| code.unlined));
        for (index, function) in self.known.iter().enumerate() {
            let same = by_hash.get(&function.hash).copied().flatten();
            let moved = by_unlined.get(&function.unlined).copied().flatten();
            let number = match (function.distinct, function.distinct_unlined) {
                (true, _) if same.is_some() => same,
                (_, true) => moved,
                _ => None,
            };
            if let Some(number) = number {
                self.take(index, number);
            }
        }
    }

    /// Follows what functions that are paired use, in the order of their code.
    fn propagate(&mut self) {
        while let Some(index) = self.queue.pop_front() {
            let Match::Is(number) = self.found[index] else { continue };
            let Some(code) = self.code(number) else { continue };
            for (known, used) in self.known[index].uses.iter().zip(&code.uses) {
                let Used::Function { index: callee, inside } = *known else { continue };
                let at = self.build.extents.at(used.target);
                let start = |number: usize| self.build.extents.as_slice()[number].start;
                match at.filter(|number| used.target - start(*number) == inside) {
                    Some(number) => self.take(callee, number),
                    None => self.spoil(callee),
                }
            }
        }
    }

    /// Pairs them unless one is another's already; then neither is paired.
    fn take(&mut self, index: usize, number: usize) {
        if self.spoiled[index] || self.found[index] == Match::Is(number) {
            return;
        }
        let fits = self.code(number).is_some_and(|code| self.alike(&self.known[index], code));
        if !fits || self.found[index] != Match::None {
            self.spoil(index);
        } else if let Some(other) = self.taken.get(&number).copied() {
            self.spoil(other);
            self.spoil(index);
        } else {
            self.found[index] = Match::Is(number);
            self.taken.insert(number, index);
            self.queue.push_back(index);
        }
    }

    fn spoil(&mut self, index: usize) {
        self.spoiled[index] = true;
        self.found[index] = Match::None;
    }

    /// Whether the code is the same, but for line numbers that all are as many lines on, and reads the same constants.
    fn alike(&self, function: &KnownFunction, code: &MaskedCode) -> bool {
        if function.unlined != code.unlined
            || function.uses.len() != code.uses.len()
            || moved(&function.lines, &code.lines).is_none()
        {
            return false;
        }
        function.uses.iter().zip(&code.uses).all(|(known, used)| match known {
            Used::Constant { bytes, hash } => {
                *bytes == used.bytes
                    && matches!(constant(self.program, used), Constant::Bytes(found) if found == *hash)
            }
            _ => true,
        })
    }

    /// An immediate that has changed may be more than a line number. So it must have changed as line numbers of the same source
    /// have that stand beside its name; else the function is another.
    fn lines_of_sources(&mut self) {
        let mut moves = BTreeSet::new();
        for (function, code) in self.paired() {
            let lines = function.lines.iter().zip(&code.lines);
            let sure = lines.filter(|(known, found)| known.beside_source && found.beside_source);
            moves.extend(sure.map(|(known, found)| (function.source, by(known, found))));
        }
        for index in 0..self.known.len() {
            let Match::Is(number) = self.found[index] else { continue };
            let Some(code) = self.code(number) else { continue };
            let function = &self.known[index];
            let by = moved(&function.lines, &code.lines);
            if by.is_none_or(|by| by != 0 && !moves.contains(&(function.source, by))) {
                self.spoil(index);
            }
        }
    }

    fn paired(&self) -> impl Iterator<Item = (&KnownFunction, &MaskedCode)> {
        self.known.iter().zip(&self.found).filter_map(|(function, found)| match found {
            Match::Is(number) => Some((function, self.code(*number)?)),
            _ => None,
        })
    }

    /// Of functions that are alike, those that stand between the same neighbours, as many as in the known build.
    fn in_place(&mut self) {
        let mut index = 0;
        while index < self.known.len() {
            let run = self.run(index);
            let end = index + run;
            if run > 0 && self.stands(index, end) {
                for found in &mut self.found[index..end] {
                    *found = Match::There;
                }
            }
            index = end.max(index + 1);
        }
    }

    /// Of the rest, those of whose code the build has as many functions as the known one: what each source has of its own kind
    /// to initialise its variables stands alone between functions of others.
    fn in_number(&mut self) {
        let mut counts = HashMap::<u64, u32>::new();
        for code in self.build.codes.iter().flatten() {
            *counts.entry(code.hash).or_default() += 1;
        }
        for (function, found) in self.known.iter().zip(&mut self.found) {
            let there = counts.get(&function.hash).copied().unwrap_or(0);
            // A bare return identifies nothing, and any source may have more of them.
            let as_many = there == function.alike || there > 0 && function.len <= BARE;
            if *found == Match::None && as_many {
                *found = Match::There;
            }
        }
    }

    /// How many functions from `index` on have not been found.
    fn run(&self, index: usize) -> usize {
        self.found[index..].iter().take_while(|found| **found == Match::None).count()
    }

    /// Whether those from `first` to `end` are there, between the neighbours of both.
    fn stands(&self, first: usize, end: usize) -> bool {
        let Some(before) = first.checked_sub(1) else { return false };
        let (Some(Match::Is(from)), Some(Match::Is(to))) =
            (self.found.get(before), self.found.get(end))
        else {
            return false;
        };
        // In the known build they follow each other too.
        let (low, high) = (self.known[before].number, self.known[end].number);
        let all = end - first;
        high.checked_sub(low) == Some(all + 1)
            && to.checked_sub(*from) == Some(all + 1)
            && (0..all).all(|nth| {
                let code = self.code(from + 1 + nth);
                code.is_some_and(|code| self.alike(&self.known[first + nth], code))
            })
    }
}

/// By how much the line numbers that differ do so, all of them by the same: 0 where none does. Those of headers may stay.
fn moved(known: &[Line], found: &[Line]) -> Option<i64> {
    if known.len() != found.len() {
        return None;
    }
    let by = known.iter().zip(found).map(|(known, found)| by(known, found));
    let mut by = by.filter(|by| *by != 0);
    let Some(first) = by.next() else { return Some(0) };
    by.all(|by| by == first).then_some(first)
}

fn by(known: &Line, found: &Line) -> i64 {
    i64::from(found.number) - i64::from(known.number)
}

/// Where the data that paired functions use lies: addresses in the other build by those in the known one, and how often.
pub(super) fn data(
    known: &Fingerprint,
    build: &Build,
    matching: &Matching,
) -> BTreeMap<u64, BTreeMap<u64, u32>> {
    let mut data = BTreeMap::<u64, BTreeMap<u64, u32>>::new();
    for (function, found) in known.functions.iter().zip(&matching.found) {
        let Match::Is(number) = found else { continue };
        let Some(code) = build.codes.get(*number).and_then(Option::as_ref) else { continue };
        for (known, used) in function.uses.iter().zip(&code.uses) {
            if let Used::Data { addr } = known {
                *data.entry(*addr).or_default().entry(used.target).or_default() += 1;
            }
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::{Line, moved};

    #[test]
    fn lines_move_together() {
        let by = |known: &[u32], found: &[u32]| {
            let lines = |of: &[u32]| -> Vec<Line> {
                of.iter().map(|number| Line { number: *number, beside_source: true }).collect()
            };
            moved(&lines(known), &lines(found))
        };
        assert_eq!(by(&[], &[]), Some(0));
        assert_eq!(by(&[10, 20], &[13, 23]), Some(3));
        assert_eq!(by(&[10, 20], &[7, 17]), Some(-3));
        assert_eq!(by(&[10, 20], &[13, 20]), Some(3));
        assert_eq!(by(&[10, 20], &[13, 22]), None);
        assert_eq!(by(&[10, 20], &[13]), None);
    }
}
