{
  description = "One registry for all your coding-agent projects, and the engine that keeps each project's agents alive";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      each = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
      manifest = nixpkgs.lib.importTOML ./Cargo.toml;

      # What the tests call beside the programs themselves.
      tools = pkgs: [
        pkgs.git
        pkgs.procps
        pkgs.strace
        pkgs.tmux
        pkgs.tmux
        pkgs.util-linux
      ];

      build =
        pkgs:
        pkgs.rustPlatform.buildRustPackage {
          pname = manifest.package.name;
          version = manifest.package.version;
          src = self;
          cargoLock.lockFile = ./Cargo.lock;
          # The tests want processes and terminals of their own: they are a check, not a part of every build.
          doCheck = false;
          # Under this name the program is the engine.
          postInstall = ''
            ln -s fleet $out/bin/agents
          '';
          meta = {
            inherit (manifest.package) description;
            license = with pkgs.lib.licenses; [
              mit
              asl20
            ];
            mainProgram = "fleet";
            platforms = pkgs.lib.platforms.linux;
          };
        };
    in
    {
      packages = each (pkgs: {
        default = build pkgs;
      });

      checks = each (pkgs: {
        package = build pkgs;
        tests = (build pkgs).overrideAttrs (old: {
          pname = "fleet-tests";
          doCheck = true;
          nativeCheckInputs = (old.nativeCheckInputs or [ ]) ++ tools pkgs;
          cargoTestFlags = [ "--workspace" ];
        });
        lints = (build pkgs).overrideAttrs (old: {
          pname = "fleet-lints";
          nativeBuildInputs = (old.nativeBuildInputs or [ ]) ++ [
            pkgs.clippy
            pkgs.rustfmt
          ];
          buildPhase = ''
            cargo fmt --all --check
            cargo clippy --workspace --all-targets --offline -- -D warnings
          '';
          installPhase = "touch $out";
        });
      });

      devShells = each (pkgs: {
        default = pkgs.mkShell {
          packages =
            tools pkgs
            ++ (with pkgs; [
              cargo
              cargo-deny
              clippy
              rust-analyzer
              rustc
              rustfmt
            ]);
        };
      });

      formatter = each (pkgs: pkgs.nixfmt-rfc-style);
    };
}
