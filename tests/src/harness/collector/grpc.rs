//! A collector's gRPC side.

use std::net::TcpListener;

use anyhow::Result;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::{Collector, Manner};

/// Serves this over gRPC, until the test ends.
pub fn serve_grpc(listener: TcpListener, service: impl TraceService) -> Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let incoming = {
        let _inside = runtime.enter();
        TcpIncoming::from(tokio::net::TcpListener::from_std(listener)?)
    };
    std::thread::spawn(move || {
        let server = Server::builder().add_service(TraceServiceServer::new(service));
        if let Err(e) = runtime.block_on(server.serve_with_incoming(incoming)) {
            eprintln!("the collector ended: {e}");
        }
    });
    Ok(())
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        match self.take(request.into_inner()) {
            Manner::Silent => std::future::pending().await,
            Manner::Busy => Err(Status::unavailable("busy")),
            Manner::Refusing => Err(Status::permission_denied("no")),
            // What only HTTP/1.1 can do wrong is none of gRPC's.
            manner => Ok(Response::new(Self::answer(manner))),
        }
    }
}
