//! Whose turn it is to be looked at, where every user may call a program `mysqld`.
//!
//! A look at a process may take long if its owner wants that, so no owner keeps others waiting: looks go on side by
//! side, each account has few places, and a look that is slow takes up none that others need.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::target::Account;

/// Looks at once.
const AT_ONCE: usize = 4;
/// Looks at once at processes of one account.
const AT_ONCE_OF_ONE: usize = 2;
/// A look that has taken so long holds no place of the others' any more, only of its account's.
const SLOW: Duration = Duration::from_secs(15);

/// Looks under way, by a key.
pub(crate) struct Turns<K> {
    begun: Vec<(K, Account, Instant)>,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self { begun: Vec::new() }
    }
}

impl<K: PartialEq> Turns<K> {
    /// Begins a look at a process of `account`, where there is a place for it.
    pub(crate) fn begin(&mut self, key: K, account: Account) -> bool {
        let account = account.owner();
        let own = self.begun.iter().filter(|(_, of, _)| *of == account).count();
        let quick = self.begun.iter().filter(|(.., since)| since.elapsed() < SLOW).count();
        let is_free = own < AT_ONCE_OF_ONE && quick < AT_ONCE;
        if is_free {
            self.begun.push((key, account, Instant::now()));
        }
        is_free
    }

    /// A look is over.
    pub(crate) fn end(&mut self, key: &K) {
        self.begun.retain(|(other, ..)| other != key);
    }
}

/// First looks that an account has at once, and the time in which it gets another one: a process that starts others
/// under new ids all the time gets no further.
const FIRST_LOOKS: u32 = 16;
const ANOTHER: Duration = Duration::from_secs(2);

/// First looks that accounts have left.
#[derive(Default)]
pub(crate) struct LookBudget(HashMap<Account, (u32, Instant)>);

impl LookBudget {
    /// Takes one, where there is one left.
    pub(crate) fn take(&mut self, account: Account) -> bool {
        self.take_at(account.owner(), Instant::now())
    }

    fn take_at(&mut self, account: Account, now: Instant) -> bool {
        let (left, since) = self.0.entry(account).or_insert((FIRST_LOOKS, now));
        let earned = now.saturating_duration_since(*since).as_nanos() / ANOTHER.as_nanos();
        if let Ok(earned @ 1..) = u32::try_from(earned) {
            *left = left.saturating_add(earned).min(FIRST_LOOKS);
            *since = now;
        }
        let has = *left > 0;
        *left = left.saturating_sub(1);
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_account_takes_all_places() {
        let mut turns = Turns::default();
        let begun = (0..10).filter(|key| turns.begin(*key, Account(1000))).count();
        assert_eq!(begun, AT_ONCE_OF_ONE);
        assert!(turns.begin(20, Account(110)) && turns.begin(21, Account(0)));
        assert!(!turns.begin(22, Account(5)), "all places are taken");
        turns.end(&20);
        assert!(turns.begin(22, Account(5)));
        assert!(!turns.begin(23, Account(1000)));
    }

    #[test]
    fn a_slow_look_holds_no_place_of_others() {
        let mut turns = Turns::default();
        for (key, account) in [(1, 1), (2, 2), (3, 3), (4, 4)] {
            assert!(turns.begin(key, Account(account)));
        }
        let Some(long_ago) = Instant::now().checked_sub(SLOW) else { return };
        turns.begun[0].2 = long_ago;
        assert!(turns.begin(5, Account(5)));
        assert!(!turns.begin(6, Account(6)));
    }

    #[test]
    fn new_ids_get_nobody_further() {
        let (mut budget, now) = (LookBudget::default(), Instant::now());
        let taken = (0..1000).filter(|_| budget.take_at(Account(1000), now)).count();
        assert_eq!(taken, FIRST_LOOKS as usize);
        assert!(budget.take_at(Account(0), now));
        assert!(budget.take_at(Account(1000), now + ANOTHER));
        assert!(!budget.take_at(Account(1000), now + ANOTHER));
        let later = now + ANOTHER * 1000;
        assert_eq!((0..1000).filter(|_| budget.take_at(Account(1000), later)).count(), taken);
    }
}
