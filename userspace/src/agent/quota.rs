//! Who may have how many of the servers that are observed: a user who starts many keeps no other's out.

use page_wire::protocol::MAX_SERVERS;

use crate::target::{Account, ServerRule};

/// Most servers that do not look like the machine's own, unless the rule is about more than names.
const MAX_STRANGERS: usize = MAX_SERVERS / 2;
/// Most servers of one account, unless the rule names it, or more data directories or units than these.
const MAX_OF_ONE: usize = 8;
/// Places that only root's servers have, and those of accounts that the rule names.
const RESERVED: usize = 4;

/// A server in its place, or one that wants one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tenant {
    pub(super) user: Account,
    /// Whether it looks like the machine's own.
    pub(super) is_likely: bool,
}

/// The places, as a rule gives them.
#[derive(Clone, Debug)]
pub(super) struct Quota {
    named: Vec<Account>,
    most_of_one: usize,
    most_strangers: usize,
}

impl Quota {
    pub(super) fn of(rule: &ServerRule) -> Self {
        Self {
            named: rule.users.clone(),
            most_of_one: MAX_OF_ONE
                .max(rule.datadirs.len())
                .max(rule.units.len())
                .max(rule.pids.len()),
            most_strangers: if rule.is_narrow() { MAX_SERVERS } else { MAX_STRANGERS },
        }
    }

    /// Whether there is one for `new` beside those that are `taken`.
    pub(super) fn has_room(&self, taken: impl Iterator<Item = Tenant>, new: Tenant) -> bool {
        let is_free = |user: Account| user == Account(0) || self.named.contains(&user);
        let (mut all, mut bound, mut own, mut strangers) = (0, 0, 0, 0);
        for tenant in taken {
            all += 1;
            bound += usize::from(!is_free(tenant.user));
            own += usize::from(tenant.user.owner() == new.user.owner());
            strangers += usize::from(!tenant.is_likely);
        }
        all < MAX_SERVERS
            && (is_free(new.user) || (own < self.most_of_one && bound < MAX_SERVERS - RESERVED))
            && (new.is_likely || strangers < self.most_strangers)
    }
}

/// What is logged once where there is no room.
pub(super) fn full() -> String {
    format!(
        "{MAX_SERVERS} servers are observed at most, {MAX_OF_ONE} of one account, and {MAX_STRANGERS} that do not look \
         like this machine's own; `--user`, `--unit` and `--datadir` choose among them"
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn tenant(user: u32) -> Tenant {
        Tenant { user: Account(user), is_likely: Account(user).is_of_the_system() }
    }

    /// Who gets a place, of so many servers of each account, one after the other.
    fn taken(rule: &ServerRule, wanted: &[(u32, usize)]) -> Vec<usize> {
        let places = Quota::of(rule);
        let mut all: Vec<Tenant> = Vec::new();
        let each = |&(user, count): &(u32, usize)| {
            let before = all.len();
            for _ in 0..count {
                if places.has_room(all.iter().copied(), tenant(user)) {
                    all.push(tenant(user));
                }
            }
            all.len() - before
        };
        wanted.iter().map(each).collect()
    }

    #[test]
    fn no_account_fills_the_places() {
        let any = ServerRule::default();
        assert_eq!(taken(&any, &[(33, 100), (110, 5), (0, 2)]), [MAX_OF_ONE, 5, 2]);
        assert_eq!(taken(&any, &[(1000, 100), (110, 5)]), [MAX_OF_ONE, 5]);
        // Not even many together, and root has its own.
        let many: Vec<(u32, usize)> = (1..=9).map(|user| (user, 100)).chain([(0, 100)]).collect();
        let got = taken(&any, &many);
        assert_eq!(got[..9].iter().sum::<usize>(), MAX_SERVERS - RESERVED);
        assert_eq!(got[9], RESERVED);
        let strangers: Vec<(u32, usize)> = (1000..1009).map(|user| (user, 100)).collect();
        assert_eq!(taken(&any, &strangers).iter().sum::<usize>(), MAX_STRANGERS);
    }

    #[test]
    fn who_is_named_is_not_starved() {
        let named = ServerRule { users: vec![Account(1000)], ..ServerRule::default() };
        assert_eq!(taken(&named, &[(1000, 100)]), [MAX_SERVERS]);
        let datadirs = vec![PathBuf::from("/data"); 12];
        let on = ServerRule { datadirs, ..ServerRule::default() };
        assert_eq!(taken(&on, &[(1000, 100), (110, 100)]), [12, 12]);
    }
}
