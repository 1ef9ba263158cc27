//! The server, and the one way in which an application is put together for it.

use std::{future::ready, io, net::TcpListener, sync::Arc};

use actix_http::{HttpService, Protocol};
use actix_server::ServerBuilder;
use actix_service::{ServiceFactoryExt, fn_service, map_config};
use actix_web::{
    App, Error,
    body::BoxBody,
    dev::{AppConfig, Server, ServiceFactory, ServiceRequest, ServiceResponse},
    middleware::{Next, from_fn},
    rt::net::TcpStream,
    web::{Data, ServiceConfig},
};
use prometheus::Registry;

use crate::{
    Admin, HttpMetrics, Offer, Operations, Settings, admin,
    connection::{self, Backlog, Connection, Limits},
    observe, routes,
};

/// All that the routes need; cheap to clone.
#[derive(Clone)]
pub struct Service {
    /// The use cases.
    pub app: profile_application::App,
    /// What was decided about this edge.
    pub settings: Arc<Settings>,
    /// Whether traffic is wanted; shared with who starts and stops the process.
    pub operations: Arc<Operations>,
    /// What is measured here.
    pub metrics: Arc<HttpMetrics>,
    /// What `/metrics` shows, that of other crates included.
    pub registry: Registry,
}

impl Service {
    /// Puts the parts together and registers what is measured.
    ///
    /// # Errors
    /// Where the registry has metrics of the same names already.
    pub fn new(
        app: profile_application::App,
        settings: Settings,
        operations: Arc<Operations>,
        registry: Registry,
    ) -> prometheus::Result<Self> {
        let metrics = Arc::new(HttpMetrics::register(&registry, settings.build)?);
        Ok(Self { app, settings: Arc::new(settings), operations, metrics, registry })
    }
}

/// The application that one worker serves: every route, with what happens around each. Production and tests use the same.
pub fn app(
    service: &Service,
) -> App<
    impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()> + use<>,
> {
    let configure: fn(&mut ServiceConfig) = match service.settings.offer {
        Offer::Everything => routes::configure,
        Offer::Operations => routes::configure_operations,
    };
    observed(service, configure)
}

/// Some routes, with what happens around each.
fn observed<C: FnOnce(&mut ServiceConfig)>(
    service: &Service,
    configure: C,
) -> App<
    impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()> + use<C>,
> {
    let metrics = Arc::clone(&service.metrics);
    let new_id = service.settings.new_id;
    App::new()
        .app_data(Data::new(service.app.clone()))
        .app_data(Data::from(Arc::clone(&service.settings)))
        .app_data(Data::from(Arc::clone(&service.operations)))
        .app_data(Data::new(service.registry.clone()))
        .configure(configure)
        .wrap(from_fn(move |request: ServiceRequest, next: Next<BoxBody>| {
            observe::observe(Arc::clone(&metrics), new_id, request, next)
        }))
}

/// Serves on a listener, and operators on theirs if there is one, over HTTP/1.1, until the server is stopped: signals are the
/// binary's. The server runs once its future is polled.
///
/// # Errors
/// Where the listener can't be used.
pub fn serve(listener: TcpListener, admin: Option<Admin>, service: Service, workers: usize) -> io::Result<Server> {
    let settings = Arc::clone(&service.settings);
    let address = listener.local_addr()?;
    // What `HttpServer` does, but for the connections themselves, which it would take as they are.
    let server = ServerBuilder::new()
        .workers(workers)
        .shutdown_timeout(settings.shutdown_timeout.as_secs())
        .max_concurrent_connections(settings.max_connections)
        .disable_signals();
    let stopping = server.graceful_shutdown_signal();
    let backlog = Backlog::new(settings.max_unread_bytes);
    let server = match admin {
        // By the same workers: a server of its own would be two threads more.
        Some(admin) => listen_for_operators(server, admin, service.clone())?,
        None => server,
    };
    let server = server.listen("http", listener, move || {
        let (stopping, backlog) = (stopping.clone(), backlog.clone());
        let limits = Limits { head_timeout: settings.head_timeout, max_head_bytes: settings.max_head_bytes, pace: settings.pace };
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(settings.keep_alive)
            .client_request_timeout(settings.head_timeout)
            .client_disconnect_timeout(settings.linger)
            .local_addr(address)
            .on_connect_ext(|connection: &Connection, data| {
                data.insert(connection.turns());
            })
            .finish(map_config(app(&service), |()| AppConfig::default()).map(connection::answered));
        fn_service(move |stream: TcpStream| {
            let peer = stream.peer_addr().ok();
            ready(Ok((connection::limited(stream, limits, &backlog), Protocol::Http1, peer)))
        })
        .and_then(http)
    })?;
    Ok(server.run())
}

fn listen_for_operators(server: ServerBuilder, admin: Admin, service: Service) -> io::Result<ServerBuilder> {
    let Admin { listener, set_log_level } = admin;
    server.listen("admin", listener, move || {
        let app = observed(&service, move |config: &mut ServiceConfig| admin::configure(config, set_log_level));
        let http = HttpService::build()
            .client_request_timeout(service.settings.head_timeout)
            .finish(map_config(app, |()| AppConfig::default()));
        fn_service(|stream: TcpStream| {
            let peer = stream.peer_addr().ok();
            ready(Ok((stream, Protocol::Http1, peer)))
        })
        .and_then(http)
    })
}
