//! Which values are taken out of a message, by their path.

/// A value that is taken out of a message, or whose presence is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Field {
    Jsonrpc,
    Id,
    Method,
    Params,
    Result,
    Error,
    /// In either `_meta`: the task that a message belongs to.
    RelatedTask,
    /// In either `_meta`: the `subscriptions/listen` request that a message belongs to.
    SubscriptionId,
    // Under `params`, in one run (see `PARAMS`).
    Name,
    Uri,
    RequestId,
    ProgressToken,
    RequestedVersion,
    ClientName,
    ClientVersion,
    MetaProgressToken,
    Traceparent,
    MetaVersion,
    MetaClientName,
    MetaClientVersion,
    TaskAugmented,
    ParamsTaskId,
    ParamsStatus,
    ParamsRequestState,
    InputResponses,
    // Under `result`, in one run (see `RESULT`).
    IsError,
    NegotiatedVersion,
    ServerName,
    ServerVersion,
    ResultType,
    ResultRequestState,
    ResultTaskId,
    ResultStatus,
    CreatedTaskId,
    CreatedTaskStatus,
    InputRequests,
    MetaServerName,
    MetaServerVersion,
    // Under `error`.
    ErrorCode,
}

impl Field {
    pub(crate) const COUNT: usize = Self::ErrorCode as usize + 1;

    pub(crate) const fn bit(self) -> u64 {
        1 << self as u8
    }
}

const fn run(first: Field, last: Field) -> u64 {
    (last.bit() << 1) - first.bit()
}

const META: u64 = Field::RelatedTask.bit() | Field::SubscriptionId.bit();
const PARAMS: u64 = run(Field::Name, Field::InputResponses) | META;
const RESULT: u64 = run(Field::IsError, Field::MetaServerVersion) | META;

/// An object whose members are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Root,
    Params,
    ParamsMeta,
    ClientInfo,
    MetaClientInfo,
    Result,
    ResultMeta,
    ServerInfo,
    MetaServerInfo,
    CreatedTask,
    RelatedTask,
    Error,
}

/// What to do with a member's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Skip,
    /// Note that it is there.
    Mark(Field),
    /// Keep a string, decoded.
    Text(Field),
    /// Keep a scalar as its JSON token.
    Token(Field),
    /// Keep the hash of a string.
    Hash(Field),
    /// Look at its members.
    Enter(Node),
    /// Hash it as it is written: it is a part of what is asked.
    Digest,
}

impl Node {
    /// The field that tells of the node's presence.
    pub(crate) fn mark(self) -> Option<Field> {
        match self {
            Self::Params => Some(Field::Params),
            Self::Result => Some(Field::Result),
            Self::Error => Some(Field::Error),
            _ => None,
        }
    }

    /// What a second occurrence of the node makes void: of duplicate keys the last wins.
    pub(crate) fn fields(self) -> u64 {
        match self {
            Self::Params => PARAMS,
            Self::Result => RESULT,
            Self::Error => Field::ErrorCode.bit(),
            _ => 0,
        }
    }

    pub(crate) fn member(self, key: &[u8]) -> Slot {
        match self {
            Self::Root => match key {
                b"jsonrpc" => Slot::Text(Field::Jsonrpc),
                b"id" => Slot::Token(Field::Id),
                b"method" => Slot::Text(Field::Method),
                b"params" => Slot::Enter(Self::Params),
                b"result" => Slot::Enter(Self::Result),
                b"error" => Slot::Enter(Self::Error),
                _ => Slot::Skip,
            },
            Self::Params => match key {
                b"name" => Slot::Text(Field::Name),
                b"uri" => Slot::Text(Field::Uri),
                b"_meta" => Slot::Enter(Self::ParamsMeta),
                b"requestId" => Slot::Token(Field::RequestId),
                b"progressToken" => Slot::Token(Field::ProgressToken),
                b"protocolVersion" => Slot::Text(Field::RequestedVersion),
                b"clientInfo" => Slot::Enter(Self::ClientInfo),
                b"task" => Slot::Mark(Field::TaskAugmented),
                b"taskId" => Slot::Text(Field::ParamsTaskId),
                b"status" => Slot::Text(Field::ParamsStatus),
                b"requestState" => Slot::Hash(Field::ParamsRequestState),
                b"inputResponses" => Slot::Mark(Field::InputResponses),
                _ => Slot::Digest,
            },
            Self::ParamsMeta => match key {
                b"progressToken" => Slot::Token(Field::MetaProgressToken),
                b"traceparent" => Slot::Text(Field::Traceparent),
                b"io.modelcontextprotocol/protocolVersion" => Slot::Text(Field::MetaVersion),
                b"io.modelcontextprotocol/clientInfo" => Slot::Enter(Self::MetaClientInfo),
                _ => Self::meta(key),
            },
            Self::Result => match key {
                b"isError" => Slot::Token(Field::IsError),
                b"_meta" => Slot::Enter(Self::ResultMeta),
                b"resultType" => Slot::Text(Field::ResultType),
                b"protocolVersion" => Slot::Text(Field::NegotiatedVersion),
                b"serverInfo" => Slot::Enter(Self::ServerInfo),
                b"requestState" => Slot::Hash(Field::ResultRequestState),
                b"taskId" => Slot::Text(Field::ResultTaskId),
                b"status" => Slot::Text(Field::ResultStatus),
                b"task" => Slot::Enter(Self::CreatedTask),
                b"inputRequests" => Slot::Mark(Field::InputRequests),
                _ => Slot::Skip,
            },
            Self::ResultMeta => match key {
                b"io.modelcontextprotocol/serverInfo" => Slot::Enter(Self::MetaServerInfo),
                _ => Self::meta(key),
            },
            Self::ClientInfo => Self::implementation(key, Field::ClientName, Field::ClientVersion),
            Self::MetaClientInfo => Self::implementation(key, Field::MetaClientName, Field::MetaClientVersion),
            Self::ServerInfo => Self::implementation(key, Field::ServerName, Field::ServerVersion),
            Self::MetaServerInfo => Self::implementation(key, Field::MetaServerName, Field::MetaServerVersion),
            Self::CreatedTask => match key {
                b"taskId" => Slot::Text(Field::CreatedTaskId),
                b"status" => Slot::Text(Field::CreatedTaskStatus),
                _ => Slot::Skip,
            },
            Self::RelatedTask => match key {
                b"taskId" => Slot::Text(Field::RelatedTask),
                _ => Slot::Skip,
            },
            Self::Error => match key {
                b"code" => Slot::Token(Field::ErrorCode),
                _ => Slot::Skip,
            },
        }
    }

    fn meta(key: &[u8]) -> Slot {
        match key {
            b"io.modelcontextprotocol/related-task" => Slot::Enter(Self::RelatedTask),
            b"io.modelcontextprotocol/subscriptionId" => Slot::Token(Field::SubscriptionId),
            _ => Slot::Skip,
        }
    }

    fn implementation(key: &[u8], name: Field, version: Field) -> Slot {
        match key {
            b"name" => Slot::Text(name),
            b"version" => Slot::Text(version),
            _ => Slot::Skip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_do_not_touch_each_other() {
        assert_eq!(PARAMS & RESULT, META);
        assert_eq!((PARAMS | RESULT) & Field::ErrorCode.bit(), 0);
        assert_ne!(PARAMS & Field::InputResponses.bit(), 0);
        assert_eq!(RESULT & Field::InputResponses.bit(), 0);
        const { assert!(Field::COUNT <= 64) };
    }
}
