//! A server on the real Rust SDK: its framing, its threads, its system calls.
//! `mcp-rmcp-server`, or `mcp-rmcp-server http PORT [--json] [--stateless] [--tls CERT KEY]`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum_server::tls_rustls::RustlsConfig;
use mcpsonar_tests::fixture::http::server_config;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{ErrorData, ProgressNotificationParam, ServerCapabilities, ServerConfig};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{RoleServer, ServerHandler, ServiceExt as _, schemars, tool, tool_handler, tool_router};

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct Echo {
    message: String,
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct Big {
    bytes: usize,
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct Slow {
    ms: u64,
    steps: u32,
}

#[derive(Clone, Debug)]
struct Server;

#[tool_router]
impl Server {
    #[tool(description = "Says it again")]
    fn echo(&self, Parameters(Echo { message }): Parameters<Echo>) -> String {
        format!("Echo: {message}")
    }

    #[tool(description = "A text of that many bytes")]
    fn big(&self, Parameters(Big { bytes }): Parameters<Big>) -> String {
        "x".repeat(bytes)
    }

    #[tool(description = "Fails")]
    fn fail(&self) -> Result<String, ErrorData> {
        Err(ErrorData::internal_error("boom", None))
    }

    #[tool(description = "Takes its time and tells its progress")]
    async fn slow(
        &self,
        Parameters(Slow { ms, steps }): Parameters<Slow>,
        context: RequestContext<RoleServer>,
    ) -> String {
        for step in 1..=steps.max(1) {
            tokio::time::sleep(Duration::from_millis(ms) / steps.max(1)).await;
            if let Some(token) = context.meta.get_progress_token() {
                let progress = ProgressNotificationParam::new(token, step.into()).with_total(steps.into());
                // A client that is gone needs no progress.
                drop(context.peer.notify_progress(progress).await);
            }
        }
        "slow done".to_owned()
    }
}

#[tool_handler]
impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match args.split_first() {
            Some((how, args)) if how == "http" => over_http(args).await,
            _ => {
                Server.serve(rmcp::transport::stdio()).await?.waiting().await?;
                Ok(())
            }
        }
    })
}

/// Serves as the SDK's examples do: the plain listener leaves Nagle's algorithm on, so that an answer in events waits
/// for the acknowledgement of its head.
async fn over_http(args: &[String]) -> anyhow::Result<()> {
    let has = |flag| args.iter().any(|arg| arg == flag);
    let port: u16 = args.first().context("which port?")?.parse()?;
    let mut config = StreamableHttpServerConfig::default();
    config.json_response = has("--json");
    config.legacy_session_mode = !has("--stateless") && !has("--json");
    let service: StreamableHttpService<Server, LocalSessionManager> =
        StreamableHttpService::new(|| Ok(Server), Arc::default(), config);
    let routes = axum::Router::new().nest_service("/mcp", service);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    if let Some(at) = args.iter().position(|arg| arg == "--tls") {
        let file = |n: usize| {
            args.get(at + n)
                .map(std::path::Path::new)
                .context("which certificate and key?")
        };
        let tls = Arc::new(server_config(file(1)?, file(2)?)?);
        let server = axum_server::bind_rustls(address, RustlsConfig::from_config(tls));
        return Ok(server.serve(routes.into_make_service()).await?);
    }
    let listener = tokio::net::TcpListener::bind(address).await?;
    Ok(axum::serve(listener, routes).await?)
}
