//! What is generated from the command line's definition: completions and manual pages.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, Failure};

/// Prints the completion script of a shell.
///
/// # Errors
/// When the standard output cannot be written.
pub(super) fn completions(shell: Shell) -> Result<(), Failure> {
    // clap_complete panics when it cannot write: it gets memory.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mcpsonar", &mut script);
    print(&script)
}

/// Prints the main manual page, or writes all pages into `dir`.
///
/// # Errors
/// When the standard output or the directory cannot be written.
pub(super) fn man(dir: Option<&Path>) -> Result<(), Failure> {
    let Some(dir) = dir else {
        return print(&render(Cli::command()).map_err(Failure::stdout)?);
    };
    let write = || -> io::Result<()> {
        fs::create_dir_all(dir)?;
        let mut command = Cli::command();
        command.build();
        fs::write(dir.join("mcpsonar.1"), render(command.clone())?)?;
        for sub in command
            .get_subcommands()
            .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
        {
            // Built subcommands are called "mcpsonar-trace".
            let name = sub.get_display_name().unwrap_or(sub.get_name());
            fs::write(dir.join(format!("{name}.1")), render(sub.clone())?)?;
        }
        Ok(())
    };
    write().map_err(|source| Failure::File {
        action: "write the manual pages",
        path: dir.to_owned(),
        source,
    })
}

fn render(command: clap::Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(page)
}

/// Writes to the standard output.
///
/// # Errors
/// [`Failure::OutputClosed`] when nobody reads it any more.
pub(crate) fn print(text: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text).and_then(|()| out.flush()).map_err(Failure::stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_for_every_command() {
        let dir = tempfile::tempdir().unwrap();
        man(Some(dir.path())).unwrap();
        for page in [
            "mcpsonar",
            "mcpsonar-trace",
            "mcpsonar-record",
            "mcpsonar-replay",
            "mcpsonar-doctor",
        ] {
            let text = fs::read_to_string(dir.path().join(format!("{page}.1"))).unwrap();
            assert!(text.contains(&page.replace('-', "\\-")), "{page}");
        }
        assert!(!dir.path().join("mcpsonar-bench-empty-tracepoints.1").exists());
        let main = fs::read_to_string(dir.path().join("mcpsonar.1")).unwrap();
        assert!(main.contains("Exit status") && !main.contains("empty"), "{main}");
    }
}
