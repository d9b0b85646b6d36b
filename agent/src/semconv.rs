//! Names of the OpenTelemetry semantic conventions that spans and metrics share: of MCP
//! (`open-telemetry/semantic-conventions-genai`, `model/mcp`), and the general ones that it refers to.

pub(crate) const MCP_METHOD_NAME: &str = "mcp.method.name";
pub(crate) const MCP_PROTOCOL_VERSION: &str = "mcp.protocol.version";
/// Of the wire it is a credential: what is sent is a hash of it.
pub(crate) const MCP_SESSION_ID: &str = "mcp.session.id";
pub(crate) const MCP_RESOURCE_URI: &str = "mcp.resource.uri";
pub(crate) const ERROR_TYPE: &str = "error.type";
pub(crate) const RPC_RESPONSE_STATUS_CODE: &str = "rpc.response.status_code";
pub(crate) const GEN_AI_TOOL_NAME: &str = "gen_ai.tool.name";
pub(crate) const GEN_AI_PROMPT_NAME: &str = "gen_ai.prompt.name";
pub(crate) const GEN_AI_OPERATION_NAME: &str = "gen_ai.operation.name";
pub(crate) const JSONRPC_REQUEST_ID: &str = "jsonrpc.request.id";
pub(crate) const NETWORK_TRANSPORT: &str = "network.transport";
pub(crate) const NETWORK_PROTOCOL_NAME: &str = "network.protocol.name";
pub(crate) const NETWORK_PROTOCOL_VERSION: &str = "network.protocol.version";
pub(crate) const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
/// Names of an end's address and port.
pub(crate) type AddressNames = [&'static str; 2];
pub(crate) const SERVER_ADDRESS: AddressNames = ["server.address", "server.port"];
pub(crate) const CLIENT_ADDRESS: AddressNames = ["client.address", "client.port"];
/// Who is observed: the endpoint's own word for its name.
pub(crate) const SERVICE_NAME: &str = "service.name";
pub(crate) const SERVICE_VERSION: &str = "service.version";
/// Where a process's own word is missing.
pub(crate) const UNKNOWN_SERVICE: &str = "unknown_service";
/// A value that is not told apart from others.
pub(crate) const OTHER: &str = "_OTHER";
pub(crate) const PROCESS_PID: &str = "process.pid";
pub(crate) const PROCESS_EXECUTABLE_NAME: &str = "process.executable.name";
