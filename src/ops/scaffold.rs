//! The files that a new project begins with. They speak of the project and its engine, and of nobody else.

/// A file to be written: path within the project and text.
pub type File = (&'static str, String);

/// What a project's first files depend on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub name: &'a str,
    pub backend: &'a str,
    /// Whether the engine reads `agents.toml`.
    pub has_agents: bool,
    /// Where the engine's commits come from; `./` for the project's own repository.
    pub engine_url: &'a str,
}

/// All of them, `.gitmodules` included.
pub fn files(facts: Facts<'_>) -> Vec<File> {
    let fill = |text: &str| text.replace("{name}", facts.name).replace("{backend}", facts.backend);
    let gitmodules = format!("[submodule \"engine\"]\n\tpath = engine\n\turl = {}\n", facts.engine_url);
    let mut files = vec![(".gitmodules", gitmodules), (".gitignore", include_str!("scaffold/gitignore").to_owned())];
    if facts.has_agents {
        files.push(("README.md", fill(include_str!("scaffold/README.md"))));
        files.push(("agents.toml", fill(include_str!("scaffold/agents.toml"))));
        files.push(("prompts/orchestrator.md", fill(include_str!("scaffold/orchestrator.md"))));
    } else {
        let text = "# {name}\n\nWhat runs here is driven by the engine in `engine/`, a git submodule pinned at one commit.\n\nAfter a clone: `git submodule update --init`.\n";
        files.push(("README.md", fill(text)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_project_names_who_looks_after_it() {
        let forbidden = ["fl", "eet"].concat();
        for has_agents in [true, false] {
            for (path, text) in files(Facts { name: "web", backend: "claude", has_agents, engine_url: "./" }) {
                assert!(!text.to_lowercase().contains(&forbidden), "{path}");
                assert!(!text.contains("{name}") && !text.contains("{backend}"), "{path} has a hole");
            }
        }
    }
}
