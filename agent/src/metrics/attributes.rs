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
    services: HashMap<Box<str>, HashMap<&'static str, HashSet<Value>>>,
}

impl Admission {
    /// The attributes of a measurement of `service`: values in the order of the instrument's
    /// attributes, those that are one too many as `_OTHER`.
    pub(super) fn attributes(&mut self, attributes: &[Attribute], service: &str, given: &[Given<'_>]) -> Attributes {
        debug_assert_eq!(attributes.len(), given.len(), "a value for each attribute");
        let service = self.service(service);
        let mut values = Vec::with_capacity(given.len());
        for (attribute, given) in attributes.iter().zip(given) {
            let value = match (attribute.values, *given) {
                (_, Given::Nothing) => None,
                (Values::Closed(known), Given::Text(text)) => Some(
                    known
                        .iter()
                        .find(|it| **it == text)
                        .map_or(semconv::OTHER, |it| it)
                        .into(),
                ),
                (Values::Open(distinct), Given::Text(text)) => {
                    Some(self.text(&service, attribute.name, distinct, text))
                }
                (Values::Number(distinct), Given::Integer(number)) => {
                    let value = Value::Integer(number);
                    self.admits(&service, attribute.name, distinct, &value).then_some(value)
                }
                (Values::Closed(_) | Values::Open(_), Given::Integer(number)) => {
                    debug_assert!(false, "{} is text", attribute.name);
                    Some(Value::Text(number.to_string().into()))
                }
                (Values::Number(_), Given::Text(_)) => {
                    debug_assert!(false, "{} is a number", attribute.name);
                    None
                }
            };
            values.extend(value.map(|value| (attribute.name, value)));
        }
        Attributes(values.into())
    }

    /// The service by which others are counted: itself, or all those that came too late.
    fn service<'a>(&mut self, service: &'a str) -> Cow<'a, str> {
        let service = short(service);
        if self.services.contains_key(&*service) {
            return service;
        }
        let admitted = self.services.len() < limits::SERVICES;
        let service = if admitted { service } else { semconv::OTHER.into() };
        self.services.entry((&*service).into()).or_default();
        service
    }

    fn text(&mut self, service: &str, attribute: &'static str, distinct: usize, text: &str) -> Value {
        // Services are counted as such, and the protocol's own methods need no counting.
        if matches!(attribute, semconv::SERVICE_NAME | "server") {
            return self.known_service(text);
        }
        let value = Value::Text(short(text).into());
        let known = matches!(attribute, semconv::MCP_METHOD_NAME | "method") && table::METHODS.contains(&text);
        if known || self.admits(service, attribute, distinct, &value) {
            value
        } else {
            semconv::OTHER.into()
        }
    }

    fn known_service(&mut self, service: &str) -> Value {
        Value::Text(self.service(service).into())
    }

    fn admits(&mut self, service: &str, attribute: &'static str, distinct: usize, value: &Value) -> bool {
        let Some(of_service) = self.services.get_mut(service) else {
            return false;
        };
        let seen = of_service.entry(attribute).or_default();
        if seen.contains(value) {
            return true;
        }
        let admitted = seen.len() < distinct;
        if admitted {
            seen.insert(value.clone());
        }
        admitted
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
