//! What tells the series of an instrument apart, and how that stays bounded.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fmt,
};

use super::{
    instrument::{Attribute, Values},
    limits, table,
};
use crate::{semconv, sink::sanitise};

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// Text without control characters, of bounded length.
    Text(Box<str>),
    /// A number.
    Integer(i64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => write!(f, "{number}"),
        }
    }
}

/// Values of some of an instrument's attributes, in the order of its table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attributes(Box<[(&'static str, Value)]>);

impl Attributes {
    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }

    /// The value of one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The same with `_OTHER` for everything that others choose.
    pub(super) fn blurred(&self, attributes: &[Attribute]) -> Self {
        self.replaced(|name| {
            attributes
                .iter()
                .any(|it| it.name == name && matches!(it.values, Values::Closed(_)))
        })
    }

    /// The same with `_OTHER` for everything.
    pub(super) fn erased(&self) -> Self {
        self.replaced(|_| false)
    }

    /// Text that may not stay becomes `_OTHER`, numbers go: they have no such word.
    fn replaced(&self, stays: impl Fn(&str) -> bool) -> Self {
        let other = || Value::Text(semconv::OTHER.into());
        let replaced = self.0.iter().filter_map(|(name, value)| match value {
            _ if stays(name) => Some((*name, value.clone())),
            Value::Text(_) => Some((*name, other())),
            Value::Integer(_) => None,
        });
        Self(replaced.collect())
    }
}

/// What an attribute is given.
#[derive(Clone, Copy, Debug)]
pub(super) enum Given<'a> {
    Nothing,
    Text(&'a str),
    Integer(i64),
}

impl<'a> From<Option<&'a str>> for Given<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Self::Nothing, Self::Text)
    }
}

impl<'a> From<&'a str> for Given<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<Option<u16>> for Given<'_> {
    fn from(number: Option<u16>) -> Self {
        number.map_or(Self::Nothing, |number| Self::Integer(number.into()))
    }
}

impl From<u32> for Given<'_> {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

/// The values that are told apart: those that came first, for each attribute and service.
#[derive(Debug, Default)]
pub(super) struct Admission {
    services: HashMap<Box<str>, Service>,
    swept_unix_ns: u64,
}

#[derive(Debug, Default)]
struct Service {
    touched_unix_ns: u64,
    values: HashMap<&'static str, HashSet<Value>>,
}

impl Admission {
    /// The attributes of a measurement of `service`: values in the order of the instrument's
    /// attributes, those that are one too many as `_OTHER`.
    pub(super) fn attributes(
        &mut self,
        attributes: &[Attribute],
        service: &str,
        given: &[Given<'_>],
        now: u64,
    ) -> Attributes {
        debug_assert_eq!(attributes.len(), given.len(), "a value for each attribute");
        let name = self.admitted_service(service, now);
        let Some(service) = self.services.get_mut(&*name) else {
            return Attributes::default();
        };
        service.touched_unix_ns = now;
        let mut values = Vec::with_capacity(given.len());
        for (attribute, given) in attributes.iter().zip(given) {
            let value = match (attribute.values, *given) {
                (_, Given::Nothing) => None,
                (Values::Service, Given::Text(_)) => Some(Value::Text((&*name).into())),
                (Values::Closed(known), Given::Text(text)) => {
                    let known = known.iter().find(|it| **it == text);
                    Some(known.map_or(semconv::OTHER, |it| it).into())
                }
                (Values::Method, Given::Text(text)) if table::METHODS.contains(&text) => Some(Value::Text(text.into())),
                (Values::Method, Given::Text(text)) => Some(service.text(attribute.name, limits::METHODS, text)),
                (Values::Open(distinct), Given::Text(text)) => Some(service.text(attribute.name, distinct, text)),
                (Values::Number(distinct), Given::Integer(number)) => {
                    let value = Value::Integer(number);
                    service.admits(attribute.name, distinct, &value).then_some(value)
                }
                (_, given) => {
                    debug_assert!(false, "{} is given {given:?}", attribute.name);
                    None
                }
            };
            values.extend(value.map(|value| (attribute.name, value)));
        }
        Attributes(values.into())
    }

    /// The service's name, or that of all those for which there was no room.
    fn admitted_service<'a>(&mut self, service: &'a str, now: u64) -> Cow<'a, str> {
        let service = short(service);
        if self.services.contains_key(&*service) {
            return service;
        }
        if self.services.len() >= limits::SERVICES {
            self.sweep(now);
        }
        let is_admitted = self.services.len() < limits::SERVICES;
        let service = if is_admitted { service } else { semconv::OTHER.into() };
        self.services.entry((&*service).into()).or_default();
        service
    }

    /// Forgets services that have been idle for long.
    fn sweep(&mut self, now: u64) {
        if now < self.swept_unix_ns.saturating_add(limits::SWEEP_NS) {
            return;
        }
        self.swept_unix_ns = now;
        self.services
            .retain(|_, service| service.touched_unix_ns.saturating_add(limits::IDLE_NS) > now);
    }
}

impl Service {
    fn text(&mut self, attribute: &'static str, distinct: usize, text: &str) -> Value {
        let value = Value::Text(short(text).into());
        if self.admits(attribute, distinct, &value) {
            value
        } else {
            semconv::OTHER.into()
        }
    }

    fn admits(&mut self, attribute: &'static str, distinct: usize, value: &Value) -> bool {
        let seen = self.values.entry(attribute).or_default();
        if seen.contains(value) {
            return true;
        }
        let is_admitted = seen.len() < distinct;
        if is_admitted {
            seen.insert(value.clone());
        }
        is_admitted
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

/// The text without control characters, cut to the bound.
fn short(text: &str) -> Cow<'_, str> {
    sanitise(&text[..text.floor_char_boundary(limits::VALUE_BYTES)])
}
