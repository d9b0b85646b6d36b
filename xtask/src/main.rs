//! The project's verbs: `cargo xtask VERB`. One verb a file.

#![forbid(unsafe_code)]

mod apt;
mod bench;
mod build;
mod chart;
mod compiler;
mod dashboards;
mod demo;
mod deploy;
mod dist;
mod docs;
mod fuzz;
mod pictures;
mod python;
mod repo;
mod setup;
mod sh;
mod soak;
mod test;
mod tidy;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What there is to do in this repository
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Setup(setup::Args),
    Build(build::Args),
    Test(test::Args),
    Demo(demo::Args),
    Docs(docs::Args),
    Dashboards(dashboards::Args),
    Deploy(deploy::Args),
    Pictures(pictures::Args),
    Queries(pictures::QueriesArgs),
    Chart(chart::Args),
    Dist(dist::Args),
    Emulate(dist::EmulateArgs),
    Bench(bench::Args),
    Vm(vm::Args),
    VmTest(vm::TestArgs),
    VmPackage(vm::PackageArgs),
    Fuzz(fuzz::Args),
    Soak(soak::Args),
    Tidy(tidy::Args),
}

fn main() -> ExitCode {
    let done = match Xtask::parse().verb {
        Verb::Setup(args) => setup::main(&args),
        Verb::Build(args) => build::main(&args),
        Verb::Chart(args) => chart::main(&args),
        Verb::Dashboards(args) => dashboards::main(&args),
        Verb::Deploy(args) => deploy::main(&args),
        Verb::Bench(args) => bench::main(&args),
        Verb::Demo(args) => demo::main(&args),
        Verb::Dist(args) => dist::main(&args),
        Verb::Emulate(args) => dist::emulate_main(&args),
        Verb::Docs(args) => docs::main(&args),
        Verb::Fuzz(args) => fuzz::main(&args),
        Verb::Queries(args) => pictures::queries_main(&args),
        Verb::Pictures(args) => pictures::main(&args),
        Verb::Test(args) => test::main(&args),
        Verb::Soak(args) => soak::main(&args),
        Verb::Tidy(args) => tidy::main(&args),
        Verb::Vm(args) => vm::main(&args),
        Verb::VmPackage(args) => vm::package_main(&args),
        Verb::VmTest(args) => vm::test_main(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
