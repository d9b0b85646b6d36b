//! A stdio server on the real Rust SDK: its framing, its threads, its system calls.

use std::time::Duration;

use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{ErrorData, ProgressNotificationParam, ServerCapabilities, ServerConfig};
use rmcp::service::RequestContext;
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
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
    runtime.block_on(async {
        Server.serve(rmcp::transport::stdio()).await?.waiting().await?;
        Ok(())
    })
}
