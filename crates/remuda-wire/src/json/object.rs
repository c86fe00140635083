//! An object that passes but for some of its members, which are left out, replaced or renamed; all others stay as they were
//! written, but for the space between them.

use std::borrow::Cow;

use super::Scanner;

/// The members of an object.
#[derive(Debug)]
pub struct Object<'a> {
    members: Vec<Member<'a>>,
    changed: bool,
}

#[derive(Debug)]
struct Member<'a> {
    name: Cow<'a, str>,
    /// The key with its quotes.
    key: Cow<'a, [u8]>,
    value: Cow<'a, [u8]>,
}

impl<'a> Object<'a> {
    /// Reads an object; returns `None` for anything else.
    pub fn read(json: &'a [u8]) -> Option<Self> {
        let mut scanner = Scanner::new(json);
        let mut members = Vec::new();
        scanner.begin_object().ok()?;
        while let Some(key) = scanner.next_key(members.is_empty()).ok()? {
            scanner.kind().ok()?;
            let value = scanner.skip_value().ok()?;
            members.push(Member {
                name: key.text(json),
                key: Cow::Borrowed(key.span.of(json)),
                value: Cow::Borrowed(value.of(json)),
            });
        }
        Some(Object {
            members,
            changed: false,
        })
    }

    /// Returns the value of a member, of several of one name the last; `null` is none.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let mut members = self.members.iter().rev();
        let member = members.find(|member| member.name == name)?;
        (*member.value != *b"null").then_some(&*member.value)
    }

    /// Returns each member's name, its key as it is written, and its value.
    pub fn members(&self) -> impl Iterator<Item = (&str, &[u8], &[u8])> {
        self.members
            .iter()
            .map(|member| (&*member.name, &*member.key, &*member.value))
    }

    /// Leaves a member out. True if there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.members.len();
        self.members.retain(|member| member.name != name);
        let removed = self.members.len() < before;
        self.changed |= removed;
        removed
    }

    /// Gives a member, which may be there already, this value.
    pub fn set(&mut self, name: &'static str, value: impl Into<Vec<u8>>) {
        self.changed = true;
        let value = Cow::Owned(value.into());
        let mut members = self.members.iter_mut().rev();
        match members.find(|member| member.name == name) {
            Some(member) => member.value = value,
            None => self.members.push(Member {
                name: Cow::Borrowed(name),
                key: Cow::Owned(format!("\"{name}\"").into_bytes()),
                value,
            }),
        }
    }

    /// Gives a member another name, in its place.
    pub fn rename(&mut self, from: &str, to: &'static str) {
        for member in &mut self.members {
            if member.name == from {
                self.changed = true;
                member.name = Cow::Borrowed(to);
                member.key = Cow::Owned(format!("\"{to}\"").into_bytes());
            }
        }
    }

    /// Returns the object as it is now; `None` if it is as it was.
    pub fn written(self) -> Option<Vec<u8>> {
        if !self.changed {
            return None;
        }
        let size = |member: &Member<'_>| member.key.len() + member.value.len() + 2;
        let mut written = Vec::with_capacity(2 + self.members.iter().map(size).sum::<usize>());
        written.push(b'{');
        for (place, member) in self.members.iter().enumerate() {
            if place > 0 {
                written.push(b',');
            }
            written.extend_from_slice(&member.key);
            written.push(b':');
            written.extend_from_slice(&member.value);
        }
        written.push(b'}');
        Some(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(json: &str, change: impl FnOnce(&mut Object<'_>)) -> Option<String> {
        let mut object = Object::read(json.as_bytes())?;
        change(&mut object);
        Some(String::from_utf8(object.written()?).unwrap())
    }

    #[test]
    fn members_go_change_and_are_renamed() {
        let json = r#" { "a" : [ 1 ,2] , "b":"x","\u0061":null } "#;
        assert_eq!(changed(json, |_| {}), None);
        assert_eq!(changed(json, |object| assert!(!object.remove("c"))), None);
        assert_eq!(
            changed(json, |object| assert!(object.remove("b"))).as_deref(),
            Some(r#"{"a":[ 1 ,2],"\u0061":null}"#)
        );
        assert_eq!(
            changed(r#"{"a":1}"#, |object| {
                object.set("a", "2");
                object.set("d", "{}");
            })
            .as_deref(),
            Some(r#"{"a":2,"d":{}}"#)
        );
        assert_eq!(
            changed(r#"{"a":1,"b":2}"#, |object| object.rename("a", "c")).as_deref(),
            Some(r#"{"c":1,"b":2}"#)
        );
    }

    #[test]
    fn the_last_of_several_counts_and_null_is_none() {
        let object = Object::read(br#"{"a":1,"a":2,"b":null}"#).unwrap();
        assert_eq!(object.get("a"), Some(&b"2"[..]));
        assert_eq!(object.get("b"), None);
        assert!(Object::read(b"[1]").is_none() && Object::read(br#"{"a":"#).is_none());
    }
}
