//! Device rules in systemd's words, which has a list of what is allowed and nothing else
//! (systemd.resource-control(5), `DevicePolicy=` and `DeviceAllow=`; opencontainers/cgroups 0.0.5, `devices/systemd.go`).
//!
//! systemd writes the rules of a unit whenever it has a reason to, such as a reload or a neighbour that has some. A
//! scope of which it knows none is open for every device from then on.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::devices::access_bits;

/// What may be used: paths or classes of devices, each with some of `rwm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    Everything,
    Only(Vec<(String, String)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Devices {
    block: bool,
    major: Option<i64>,
    minor: Option<i64>,
}

impl Devices {
    fn overlaps(&self, other: &Devices) -> bool {
        let meet =
            |one: Option<i64>, two: Option<i64>| one.is_none() || two.is_none() || one == two;
        self.block == other.block && meet(self.major, other.major) && meet(self.minor, other.minor)
    }

    /// As systemd 240 and later read it. It cannot name one number of every driver.
    fn name(&self) -> Option<String> {
        let kind = if self.block { "block" } else { "char" };
        match (self.major, self.minor) {
            (None, None) => Some(format!("{kind}-*")),
            (Some(major), None) => Some(format!("{kind}-{major}")),
            (Some(major), Some(minor)) => Some(format!("/dev/{kind}/{major}:{minor}")),
            (None, Some(_)) => None,
        }
    }
}

/// The last rule that speaks of a device counts. Where systemd's words are too few, less is allowed, never more: our
/// own rules, which are written after its, say it exactly.
pub(super) fn by(rules: &[LinuxDeviceCgroup]) -> Allowed {
    let (mut everything, mut listed): (bool, Vec<(Devices, i32)>) = (false, Vec::new());
    for rule in rules {
        let bits = access_bits(rule);
        let devices = of(rule);
        if devices.len() == 2
            && bits == ALL
            && devices.iter().all(|it| it.major.or(it.minor).is_none())
        {
            (everything, listed) = (rule.allow(), Vec::new());
            continue;
        }
        for one in devices {
            if rule.allow() {
                match listed.iter_mut().find(|(known, _)| *known == one) {
                    Some((_, known)) => *known |= bits,
                    None => listed.push((one, bits)),
                }
            } else {
                everything = false;
                listed
                    .iter_mut()
                    .filter(|(it, _)| it.overlaps(&one))
                    .for_each(|(_, it)| *it &= !bits);
            }
        }
    }
    if everything {
        return Allowed::Everything;
    }
    let said = listed.iter().filter(|(_, bits)| *bits != 0);
    Allowed::Only(said.filter_map(|(it, bits)| Some((it.name()?, access(*bits)))).collect())
}

const ALL: i32 = 7;

/// A rule of all types is one for each.
fn of(rule: &LinuxDeviceCgroup) -> Vec<Devices> {
    let number = |n: Option<i64>| n.filter(|n| *n >= 0);
    let (major, minor) = (number(rule.major()), number(rule.minor()));
    let kinds: &[bool] = match rule.typ().unwrap_or_default() {
        LinuxDeviceType::B => &[true],
        LinuxDeviceType::C | LinuxDeviceType::U => &[false],
        LinuxDeviceType::A | LinuxDeviceType::P => &[true, false],
    };
    kinds.iter().map(|block| Devices { block: *block, major, minor }).collect()
}

fn access(bits: i32) -> String {
    [(2, 'r'), (4, 'w'), (1, 'm')]
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, c)| *c)
        .collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn told(rules: &str) -> String {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_str(rules).unwrap();
        match by(&rules) {
            Allowed::Everything => "everything".into(),
            Allowed::Only(all) => {
                all.iter().map(|(name, access)| format!("{name} {access}\n")).collect()
            }
        }
    }

    #[test]
    fn systemd_is_told_what_is_allowed() {
        expect![[r#"
            char-* m
            block-* m
            /dev/char/1:3 rwm
            char-136 rwm
            /dev/char/5:1 r
        "#]]
        .assert_eq(&told(
            r#"[{"allow":false,"access":"rwm"},
                {"allow":true,"type":"c","access":"m"},
                {"allow":true,"type":"b","access":"m"},
                {"allow":true,"type":"c","major":1,"minor":3,"access":"rw"},
                {"allow":true,"type":"c","major":1,"minor":3,"access":"m"},
                {"allow":true,"type":"c","major":136,"access":"rwm"},
                {"allow":true,"type":"c","minor":9,"access":"rwm"},
                {"allow":true,"type":"c","major":5,"minor":1,"access":"rw"},
                {"allow":false,"type":"c","major":5,"minor":1,"access":"w"}]"#,
        ));
    }

    #[test]
    fn everything_is_allowed_only_if_nothing_is_taken_away() {
        let all = r#"{"allow":true,"type":"a","access":"rwm"}"#;
        assert_eq!(told(&format!("[{all}]")), "everything");
        assert_eq!(told(&format!(r#"[{all},{{"allow":false,"access":"rwm"}}]"#)), "");
        let some = r#"{"allow":false,"type":"b","major":8,"access":"w"}"#;
        assert_eq!(told(&format!("[{all},{some}]")), "");
    }
}
