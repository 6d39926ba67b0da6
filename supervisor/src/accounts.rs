//! The account of a process's user, as programs look it up (getpwuid(3), getgrgid(3)). Pure
//! functions. Runs in the supervisor.

use std::ffi::CStr;

use prn_ipc_protocol::config::User;
use prn_ipc_protocol::types::UserName;

/// Lines of the files of accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// Of /etc/passwd (passwd(5)).
    pub passwd: Vec<u8>,
    /// Of /etc/group (group(5)).
    pub group: Vec<u8>,
}

impl Account {
    /// Of a user, whose group is its own, with this directory as its home. Nobody can log in to it.
    ///
    /// No path of a state folder holds a colon or a line's end (`prn server start` refuses it).
    pub fn of(uid: u32, home: &CStr) -> Self {
        let start = format!("prn-{uid}:x:{uid}:{uid}:process of prn:");
        let passwd = [start.as_bytes(), home.to_bytes(), b":/bin/sh\n"].concat();
        let group = format!("prn-{uid}:x:{uid}:\n").into_bytes();
        Self { passwd, group }
    }

    /// Of a user of the machine's. The host's own line, which comes before this one, counts; it is
    /// not in the host's file where that is new, or where a directory knows the user. Of its groups
    /// the host's file says the names.
    pub fn of_user(name: &UserName, user: &User, home: &CStr) -> Self {
        let start = format!("{name}:x:{}:{}::", user.uid, user.gid);
        let passwd = [start.as_bytes(), home.to_bytes(), b":/bin/sh\n"].concat();
        Self {
            passwd,
            group: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_the_fields_of_its_files() {
        let Account { passwd, group } = Account::of(2_000_000_007, c"/var/lib/prn/ab");
        assert_eq!(
            String::from_utf8(passwd).unwrap(),
            "prn-2000000007:x:2000000007:2000000007:process of prn:/var/lib/prn/ab:/bin/sh\n"
        );
        assert_eq!(
            String::from_utf8(group).unwrap(),
            "prn-2000000007:x:2000000007:\n"
        );
        let user = User {
            uid: 1001,
            gid: 1002,
            groups: vec![1002, 33],
        };
        let name = "deploy".to_owned().try_into().unwrap();
        let Account { passwd, group } = Account::of_user(&name, &user, c"/var/lib/prn/ab");
        assert_eq!(passwd, b"deploy:x:1001:1002::/var/lib/prn/ab:/bin/sh\n");
        assert!(group.is_empty());
    }
}
