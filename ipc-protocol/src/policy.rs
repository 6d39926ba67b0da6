//! Who may do what: one pure function over the policy, what runs, and what is asked for.
//!
//! The supervisor decides by it before it acts. The frontend decides by it what a client gets to
//! see of what it knows anyway, and says early what the supervisor would refuse: that saves a way, and
//! guards nothing against a frontend that was taken over. Nothing is allowed that no role allows.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};

use serde::{Deserialize, Serialize};

pub use crate::message::{Denial, VERBS, Verb};
use crate::message::{ProcessSpec, Profile, StartSpec, Update};
use crate::signed::Signing;
use crate::types::{AccessName, Hours, Limits, UnixMicros, UserName};

/// Who may do what, as `prn server start` has read it from the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Who there is.
    pub principals: BTreeMap<AccessName, Principal>,
    /// What they may do.
    pub roles: BTreeMap<AccessName, Role>,
    /// Whose signatures count.
    pub signing: Signing,
}

/// Somebody whom requests come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// What they may do.
    pub role: AccessName,
    /// Whom they share processes with ([`Reach::Group`]).
    pub group: Option<AccessName>,
    /// Nothing is theirs to ask for from then on.
    pub not_after: Option<UnixMicros>,
    /// What is theirs to start they sign.
    pub must_sign: bool,
}

/// What somebody may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// What they may ask for.
    pub verbs: BTreeSet<Verb>,
    /// Whose processes and workspaces that is about.
    pub reach: Reach,
    /// When they may change something. Empty: at any time.
    pub hours: Vec<Hours>,
    /// What they may start.
    pub programs: Programs,
    /// The least that confines what they start.
    pub profile: Profile,
    /// Users of the machine's that it may run as.
    pub users: BTreeSet<UserName>,
    /// Most that a process of theirs can ask for, which applies where it asks for nothing. Beside
    /// the server's own ceilings.
    pub ceilings: Limits,
    /// Limits of a process that asks for none, instead of the server's.
    pub defaults: Limits,
    /// Most processes of one of them at one time.
    pub processes_max: Option<u32>,
    /// Most output bytes that a process of theirs can ask to be kept.
    pub output_max: Option<u64>,
}

/// Whose processes and workspaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// One's own.
    Own,
    /// Those of all who have the same group.
    Group,
    /// Everybody's.
    All,
}

/// What may be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Programs {
    /// Anything.
    Any,
    /// What one of these rules describes, with no variables but these: a variable such as
    /// LD_PRELOAD would make another program of it.
    Ruled {
        /// The rules; the first that describes it counts.
        rules: Vec<Program>,
        /// Names of the variables that may be set.
        variables: BTreeSet<CString>,
    },
}

/// A program, and what it may be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Absolute path of the program: it is executed, whatever the request calls it.
    pub path: CString,
    /// Its arguments, without its name.
    pub words: Vec<CString>,
    /// Other words may follow.
    pub is_beginning: bool,
}

/// What may be started, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant<'a> {
    /// The role that allows it.
    pub role: &'a Role,
    /// The rule that describes its program, by its place. `None`: any may be started.
    pub rule: Option<usize>,
    /// What is executed. `None`: where the program is found.
    pub program: Option<&'a CStr>,
}

/// Of somebody who asks, what matters to a start beside what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Starter<'a> {
    /// Who.
    pub principal: &'a AccessName,
    /// How many processes of theirs there are.
    pub processes: u32,
    /// The time.
    pub now: UnixMicros,
}

impl Policy {
    /// What somebody's role is.
    ///
    /// # Errors
    /// `Unknown` or `Expired`.
    pub fn role(&self, who: &AccessName, now: UnixMicros) -> Result<&Role, Denial> {
        let principal = self.principals.get(who).ok_or(Denial::Unknown)?;
        if principal.not_after.is_some_and(|end| now >= end) {
            return Err(Denial::Expired);
        }
        self.roles.get(&principal.role).ok_or(Denial::Unknown)
    }

    /// Whether somebody's starts have to be signed.
    pub fn must_sign(&self, who: &AccessName) -> bool {
        let is_told = |principal: &Principal| principal.must_sign;
        self.signing.is_required || self.principals.get(who).is_some_and(is_told)
    }

    /// Whether somebody may do something that is about nobody's process.
    ///
    /// # Errors
    /// Why not.
    pub fn may(&self, who: &AccessName, verb: Verb, now: UnixMicros) -> Result<&Role, Denial> {
        let role = self.role(who, now)?;
        if !role.verbs.contains(&verb) {
            return Err(Denial::Verb(verb));
        }
        match role.closed(now).filter(|_| has_hours(verb)) {
            Some(next) => Err(Denial::Hours(next)),
            None => Ok(role),
        }
    }

    /// Whether somebody may do something with a process or a workspace of this owner. `None`: it
    /// has none.
    ///
    /// # Errors
    /// Why not.
    pub fn may_with(
        &self,
        who: &AccessName,
        verb: Verb,
        owner: Option<&AccessName>,
        now: UnixMicros,
    ) -> Result<&Role, Denial> {
        let role = self.may(who, verb, now)?;
        if self.reaches(role.reach, who, owner) {
            Ok(role)
        } else {
            Err(Denial::Reach(verb))
        }
    }

    fn reaches(&self, reach: Reach, who: &AccessName, owner: Option<&AccessName>) -> bool {
        let is_own = owner == Some(who);
        match reach {
            Reach::All => true,
            Reach::Own => is_own,
            Reach::Group => is_own || self.share_group(who, owner),
        }
    }

    fn share_group(&self, one: &AccessName, other: Option<&AccessName>) -> bool {
        let group = |name| self.principals.get(name)?.group.as_ref();
        let theirs = other.and_then(group);
        theirs.is_some() && group(one) == theirs
    }

    /// Whether somebody may start this, whose program is looked for at these paths, in this order.
    /// Limits are compared with [`Role::ceilings`] by who sets them.
    ///
    /// # Errors
    /// Why not.
    pub fn may_start(
        &self,
        who: Starter<'_>,
        spec: &StartSpec,
        candidates: &[CString],
    ) -> Result<Grant<'_>, Denial> {
        let role = self.may(who.principal, Verb::Start, who.now)?;
        let process = &spec.process;
        let rule = match &role.programs {
            Programs::Any => None,
            Programs::Ruled { rules, variables } => {
                check_variables(variables, &spec.variables)?;
                check_place(process)?;
                let words = process.argv.as_slice().get(1..).unwrap_or_default();
                let rule = rules.iter().position(|rule| rule.is(candidates, words));
                Some((rules, rule.ok_or(Denial::Program)?))
            }
        };
        if strictness(process.profile) < strictness(role.profile) {
            return Err(Denial::Profile(role.profile));
        }
        if process
            .user
            .as_ref()
            .is_some_and(|user| !role.users.contains(user))
        {
            return Err(Denial::User);
        }
        if let Some(most) = role.output_max.filter(|most| process.output.max > *most) {
            return Err(Denial::Output(most));
        }
        if let Some(most) = role.processes_max.filter(|most| who.processes >= *most) {
            return Err(Denial::Processes(most));
        }
        let program = rule.and_then(|(rules, place)| rules.get(place));
        Ok(Grant {
            role,
            rule: rule.map(|(_, place)| place),
            program: program.map(|program| program.path.as_c_str()),
        })
    }
}

impl Role {
    /// The hours that come next, where it is none of them now.
    pub fn closed(&self, now: UnixMicros) -> Option<Hours> {
        let mut all = self.hours.iter().copied();
        let is_open = all.clone().any(|hours| hours.contain(now));
        let first = all.next().filter(|_| !is_open)?;
        Some(all.fold(first, |next, hours| {
            if hours.begin_in(now) < next.begin_in(now) {
                hours
            } else {
                next
            }
        }))
    }
}

/// Whether it is allowed in a role's hours alone. To see and to read changes nothing, and who has
/// started something in them must be able to end it when they are over.
fn has_hours(verb: Verb) -> bool {
    match verb {
        Verb::List | Verb::Output | Verb::Stop => false,
        Verb::Start | Verb::Signal | Verb::Input | Verb::Workspace | Verb::Admin => true,
    }
}

/// What an update takes. To pause is what a signal does, and all else is what a start says; but a limit or
/// a lease can end a process, so those of another's take what a stop does.
pub fn verbs_of(update: &Update, is_own: bool) -> impl Iterator<Item = Verb> {
    let is_pause = update.paused.is_some();
    let ends = update.lease.is_some() || !update.limits.is_empty();
    let is_other = ends || update.labels.is_some() || !is_pause;
    let verbs = [
        (is_pause, Verb::Signal),
        (is_other, Verb::Start),
        (ends && !is_own, Verb::Stop),
    ];
    verbs
        .into_iter()
        .filter_map(|(is_needed, verb)| is_needed.then_some(verb))
}

impl Program {
    fn is(&self, candidates: &[CString], words: &[CString]) -> bool {
        let has_words = if self.is_beginning {
            words.starts_with(&self.words)
        } else {
            *words == *self.words
        };
        has_words && candidates.contains(&self.path)
    }
}

fn check_place(process: &ProcessSpec) -> Result<(), Denial> {
    if process.working_directory.is_some() {
        return Err(Denial::Directory);
    }
    if process.workspace.is_some() {
        return Err(Denial::Workspace);
    }
    if process.paths.as_slice().is_empty() {
        Ok(())
    } else {
        Err(Denial::Paths)
    }
}

fn check_variables(allowed: &BTreeSet<CString>, asked: &[CString]) -> Result<(), Denial> {
    let is_allowed = |variable: &CString| {
        let name = variable.to_bytes().split(|byte| *byte == b'=').next();
        allowed
            .iter()
            .any(|allowed| Some(allowed.to_bytes()) == name)
    };
    match asked.iter().position(|variable| !is_allowed(variable)) {
        None => Ok(()),
        Some(place) => Err(Denial::Variable(u16::try_from(place).unwrap_or(u16::MAX))),
    }
}

/// Profiles in the order of how much they forbid.
fn strictness(profile: Profile) -> u8 {
    match profile {
        Profile::None => 0,
        Profile::Default => 1,
        Profile::Strict => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Input, Keeping, OutputStore, Overflow, ProcessSpec, Retention};
    use crate::types::{Argv, Labels, PathRule, Paths, ProcessId};

    const NOW: UnixMicros = UnixMicros(1000);

    fn name(text: &str) -> AccessName {
        text.to_owned().try_into().unwrap()
    }

    fn role(verbs: &[Verb], reach: Reach) -> Role {
        Role {
            verbs: verbs.iter().copied().collect(),
            reach,
            hours: Vec::new(),
            programs: Programs::Any,
            profile: Profile::None,
            users: BTreeSet::new(),
            ceilings: Limits::default(),
            defaults: Limits::default(),
            processes_max: None,
            output_max: None,
        }
    }

    fn principal(role: &str, group: Option<&str>) -> Principal {
        Principal {
            role: name(role),
            group: group.map(name),
            not_after: None,
            must_sign: false,
        }
    }

    /// One of `me`, in the group of `mate` and not of `stranger`.
    fn policy(role: Role) -> Policy {
        Policy {
            principals: [
                (name("me"), principal("r", Some("g"))),
                (name("mate"), principal("r", Some("g"))),
                (name("stranger"), principal("r", Some("h"))),
                (name("loner"), principal("r", None)),
                (name("lost"), principal("no-such-role", None)),
            ]
            .into(),
            roles: [(name("r"), role)].into(),
            signing: Signing::default(),
        }
    }

    fn spec(argv: &[&str]) -> StartSpec {
        let argv: Vec<CString> = argv
            .iter()
            .map(|word| CString::new(*word).unwrap())
            .collect();
        StartSpec {
            id: ProcessId::from_bytes([1; 16]),
            process: ProcessSpec {
                argv: Argv::try_from(argv).unwrap(),
                working_directory: None,
                limits: Limits::default(),
                best_effort_limits: false,
                input: Input::Nothing,
                output: Keeping {
                    max: 65_536,
                    overflow: Overflow::DropOldest,
                    store: OutputStore::Memory,
                },
                timeout: None,
                stop_grace: 1.try_into().unwrap(),
                linger: false,
                profile: Profile::Default,
                user: None,
                paths: Paths::default(),
                workspace: None,
                name: None,
                labels: Labels::default(),
                deadline: None,
                lease: None,
                retention: Retention::default(),
            },
            variables: Vec::new(),
            expect: None,
            signature: None,
            requested: None,
        }
    }

    fn starter(principal: &AccessName) -> Starter<'_> {
        Starter {
            principal,
            processes: 0,
            now: NOW,
        }
    }

    #[test]
    fn each_verb_of_each_role_reaches_whom_it_says_and_nothing_else() {
        // Every set of verbs that lacks one, has one alone, has all or none.
        let sets = VERBS.iter().flat_map(|verb| {
            let others = VERBS.iter().copied().filter(|other| other != verb);
            [vec![*verb], others.collect()]
        });
        let sets: Vec<Vec<Verb>> = sets.chain([VERBS.to_vec(), Vec::new()]).collect();
        let owners = [
            None,
            Some("me"),
            Some("mate"),
            Some("stranger"),
            Some("loner"),
            Some("gone"),
        ];
        let mut decided = 0;
        for verbs in &sets {
            for reach in [Reach::Own, Reach::Group, Reach::All] {
                let policy = policy(role(verbs, reach));
                for verb in VERBS {
                    for owner in owners {
                        let reached = match reach {
                            Reach::All => true,
                            Reach::Own => owner == Some("me"),
                            Reach::Group => [Some("me"), Some("mate")].contains(&owner),
                        };
                        let expected = match (verbs.contains(&verb), reached) {
                            (false, _) => Err(Denial::Verb(verb)),
                            (true, false) => Err(Denial::Reach(verb)),
                            (true, true) => Ok(()),
                        };
                        let owner_name = owner.map(name);
                        let found = policy.may_with(&name("me"), verb, owner_name.as_ref(), NOW);
                        let what = format!("{verbs:?} {reach:?} {verb:?} of {owner:?}");
                        assert_eq!(found.map(|_| ()), expected, "{what}");
                        decided += 1;
                    }
                }
            }
        }
        assert_eq!(decided, 18 * 3 * 8 * 6);
    }

    #[test]
    fn who_has_no_group_shares_none() {
        let policy = policy(role(&VERBS, Reach::Group));
        let loner = name("loner");
        for (owner, expected) in [
            (Some("loner"), Ok(())),
            (Some("me"), Err(Denial::Reach(Verb::Stop))),
            (Some("lost"), Err(Denial::Reach(Verb::Stop))),
            (None, Err(Denial::Reach(Verb::Stop))),
        ] {
            let owner = owner.map(name);
            let found = policy.may_with(&loner, Verb::Stop, owner.as_ref(), NOW);
            assert_eq!(found.map(|_| ()), expected, "{owner:?}");
        }
    }

    #[test]
    fn who_is_unknown_has_no_role_or_no_time_left_may_nothing() {
        let mut policy = policy(role(&VERBS, Reach::All));
        let me = policy.principals.get_mut(&name("me")).unwrap();
        me.not_after = Some(NOW);
        let before = UnixMicros(NOW.0 - 1);
        for (who, now, expected) in [
            ("nobody", NOW, Err(Denial::Unknown)),
            ("lost", NOW, Err(Denial::Unknown)),
            ("me", NOW, Err(Denial::Expired)),
            ("me", before, Ok(())),
            ("mate", NOW, Ok(())),
        ] {
            for verb in VERBS {
                let found = policy.may(&name(who), verb, now);
                assert_eq!(found.map(|_| ()), expected, "{who} {verb:?}");
            }
            let who = name(who);
            let starter = Starter {
                now,
                ..starter(&who)
            };
            let found = policy.may_start(starter, &spec(&["a"]), &[c"/a".into()]);
            assert_eq!(found.map(|_| ()), expected, "{who} starts");
        }
    }

    /// A role that may start these programs.
    fn ruled(rules: &[(&CStr, &[&CStr], bool)]) -> Role {
        let rules = rules.iter().map(|(path, words, is_beginning)| Program {
            path: (*path).to_owned(),
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            is_beginning: *is_beginning,
        });
        Role {
            programs: Programs::Ruled {
                rules: rules.collect(),
                variables: [c"LANG".to_owned()].into(),
            },
            ..role(&[Verb::Start], Reach::Own)
        }
    }

    #[test]
    fn a_program_is_what_a_rule_says_word_by_word() {
        let policy = policy(ruled(&[
            (c"/bin/ctl", &[c"restart", c"web"], false),
            (c"/bin/ctl", &[c"status"], true),
            (c"/bin/true", &[], false),
            (c"/bin/any", &[], true),
        ]));
        let me = name("me");
        for (argv, expected) in [
            (&["ctl", "restart", "web"][..], Ok((0, c"/bin/ctl"))),
            (&["ctl", "restart", "web", "now"], Err(Denial::Program)),
            (&["ctl", "restart"], Err(Denial::Program)),
            (&["ctl", "restart", "webs"], Err(Denial::Program)),
            (&["ctl", "restart web"], Err(Denial::Program)),
            (&["ctl", "status"], Ok((1, c"/bin/ctl"))),
            (&["ctl", "status", "web", "-x"], Ok((1, c"/bin/ctl"))),
            (&["ctl", "statuses"], Err(Denial::Program)),
            (&["true"], Ok((2, c"/bin/true"))),
            (&["true", ""], Err(Denial::Program)),
            (&["any"], Ok((3, c"/bin/any"))),
            (&["any", "", "b"], Ok((3, c"/bin/any"))),
            (&["other"], Err(Denial::Program)),
        ] {
            let candidates = ["/sbin", "/bin"]
                .map(|folder| CString::new(format!("{folder}/{}", argv.first().unwrap())).unwrap());
            let spec = spec(argv);
            let found = policy.may_start(starter(&me), &spec, &candidates);
            let found = found.map(|grant| (grant.rule.unwrap(), grant.program.unwrap()));
            assert_eq!(found, expected, "{argv:?}");
        }
    }

    #[test]
    fn where_programs_are_ruled_nothing_may_make_another_of_them() {
        let policy = policy(ruled(&[(c"/bin/a", &[], true)]));
        let me = name("me");
        type Change = fn(&mut StartSpec);
        let cases: [(&str, Change, Result<(), Denial>); 8] = [
            ("as it is", |_| {}, Ok(())),
            (
                "a variable that may be set",
                |spec| spec.variables = vec![c"LANG=C".into()],
                Ok(()),
            ),
            (
                "one that may not",
                |spec| spec.variables = vec![c"LANG=C".into(), c"LD_PRELOAD=/x".into()],
                Err(Denial::Variable(1)),
            ),
            (
                "one whose name begins as that of one that may",
                |spec| spec.variables = vec![c"LANGUAGE=x".into()],
                Err(Denial::Variable(0)),
            ),
            (
                "one without a value",
                |spec| spec.variables = vec![c"PATH".into()],
                Err(Denial::Variable(0)),
            ),
            (
                "another directory",
                |spec| spec.process.working_directory = Some(c"/tmp".into()),
                Err(Denial::Directory),
            ),
            (
                "a workspace",
                |spec| spec.process.workspace = Some("w".to_owned().try_into().unwrap()),
                Err(Denial::Workspace),
            ),
            (
                "a path",
                |spec| {
                    let paths = vec![PathRule::Hidden(c"/etc".into())];
                    spec.process.paths = paths.try_into().unwrap();
                },
                Err(Denial::Paths),
            ),
        ];
        for (what, change, expected) in cases {
            let mut spec = spec(&["a"]);
            change(&mut spec);
            let found = policy.may_start(starter(&me), &spec, &[c"/bin/a".into()]);
            assert_eq!(found.map(|_| ()), expected, "{what}");
        }
        for candidates in [
            &[c"a".to_owned()][..],
            &[c"/bin//a".into()],
            &[c"./bin/a".into()],
            &[],
        ] {
            let found = policy.may_start(starter(&me), &spec(&["a"]), candidates);
            assert_eq!(found, Err(Denial::Program), "{candidates:?}");
        }
    }

    #[test]
    fn profile_output_and_number_are_bounded() {
        let me = name("me");
        let profiles = [Profile::None, Profile::Default, Profile::Strict];
        for (place, least) in profiles.into_iter().enumerate() {
            let policy = policy(Role {
                profile: least,
                ..role(&[Verb::Start], Reach::Own)
            });
            for (asked, profile) in profiles.into_iter().enumerate() {
                let mut spec = spec(&["a"]);
                spec.process.profile = profile;
                let found = policy.may_start(starter(&me), &spec, &[]);
                assert_eq!(found.is_ok(), asked >= place, "{profile:?} of {least:?}");
            }
        }
        let policy = policy(Role {
            output_max: Some(65_536),
            processes_max: Some(2),
            ..role(&[Verb::Start], Reach::Own)
        });
        let found = |output, processes| {
            let mut spec = spec(&["a"]);
            spec.process.output.max = output;
            let starter = Starter {
                processes,
                ..starter(&me)
            };
            policy.may_start(starter, &spec, &[]).map(|_| ())
        };
        assert_eq!(found(65_536, 1), Ok(()));
        assert_eq!(found(65_537, 1), Err(Denial::Output(65_536)));
        assert_eq!(found(65_536, 2), Err(Denial::Processes(2)));
    }

    /// 2026-11-30, a Monday.
    const MONDAY: u64 = 1_796_000_400 / 86_400 * 86_400 * 1_000_000;

    fn at(day: u64, hour: u64, minute: u64) -> UnixMicros {
        UnixMicros(MONDAY + ((day * 24 + hour) * 60 + minute) * 60_000_000)
    }

    fn hours(from: (u16, u16), to: (u16, u16)) -> Hours {
        let minute = |(day, hour): (u16, u16)| (day * 24 + hour) * 60;
        (minute(from), minute(to)).try_into().unwrap()
    }

    #[test]
    fn outside_its_hours_a_role_sees_and_stops_what_it_does_and_no_more() {
        let mornings = hours((0, 8), (0, 12));
        let fridays = hours((4, 22), (5, 6));
        let sundays = hours((6, 22), (7, 6));
        let all = [mornings, fridays, sundays];
        let role = Role {
            hours: all.to_vec(),
            ..role(&VERBS, Reach::All)
        };
        let policy = policy(role);
        let me = name("me");
        for (now, expected) in [
            (at(0, 7, 59), Err(mornings)),
            (at(0, 8, 0), Ok(())),
            (at(0, 11, 59), Ok(())),
            (at(0, 12, 0), Err(fridays)),
            (at(4, 21, 59), Err(fridays)),
            (at(4, 22, 0), Ok(())),
            (at(5, 5, 59), Ok(())),
            (at(5, 6, 0), Err(sundays)),
            (at(6, 23, 0), Ok(())),
            (at(7, 0, 0), Ok(())),
            (at(7, 5, 59), Ok(())),
            (at(7, 6, 0), Err(mornings)),
            (UnixMicros(0), Err(fridays)),
        ] {
            for verb in VERBS {
                let expected = if [Verb::List, Verb::Output, Verb::Stop].contains(&verb) {
                    Ok(())
                } else {
                    expected.map_err(Denial::Hours)
                };
                let found = policy.may_with(&me, verb, Some(&name("mate")), now);
                assert_eq!(found.map(|_| ()), expected, "{verb:?} at {now:?}");
            }
            let starter = Starter {
                now,
                ..starter(&me)
            };
            let found = policy.may_start(starter, &spec(&["a"]), &[]);
            assert_eq!(
                found.map(|_| ()),
                expected.map_err(Denial::Hours),
                "{now:?}"
            );
        }
        for (minute, day) in (0..).step_by(1440).zip([3, 4, 5, 6, 0, 1, 2]) {
            assert_eq!(UnixMicros(minute * 60_000_000).minute_of_week(), day * 1440);
        }
    }

    #[test]
    fn a_process_runs_as_a_user_of_its_role_alone() {
        let user = |text: &str| UserName::try_from(text.to_owned()).unwrap();
        let me = name("me");
        for (users, asked, expected) in [
            (&[][..], None, Ok(())),
            (&[], Some("deploy"), Err(Denial::User)),
            (&["deploy"], None, Ok(())),
            (&["deploy"], Some("deploy"), Ok(())),
            (&["deploy"], Some("deploy2"), Err(Denial::User)),
            (&["deploy2"], Some("deploy"), Err(Denial::User)),
            (&["Deploy"], Some("deploy"), Err(Denial::User)),
            (&["deploy", "www-data"], Some("www-data"), Ok(())),
        ] {
            let policy = policy(Role {
                users: users.iter().copied().map(user).collect(),
                ..role(&[Verb::Start], Reach::All)
            });
            let mut spec = spec(&["a"]);
            spec.process.user = asked.map(user);
            let found = policy.may_start(starter(&me), &spec, &[]);
            assert_eq!(found.map(|_| ()), expected, "{asked:?} of {users:?}");
        }
    }

    #[test]
    fn without_a_policy_nobody_may_anything() {
        let policy = Policy::default();
        for verb in VERBS {
            assert_eq!(policy.may(&name("me"), verb, NOW), Err(Denial::Unknown));
        }
    }
}
