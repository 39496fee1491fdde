{
  description = "msgscript: a function server; scripts in sandboxed processes answer NATS messages and HTTP requests";

  # Pin it with `nix flake lock`.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      forAllSystems =
        make:
        nixpkgs.lib.genAttrs [
          "x86_64-linux"
          "aarch64-linux"
        ] (system: make nixpkgs.legacyPackages.${system});
      package = pkgs: pkgs.callPackage ./nix/package.nix { commit = self.shortRev or ""; };
    in
    {
      packages = forAllSystems (pkgs: rec {
        msgscript = package pkgs;
        # By their names in the Go server's flake; one package has both.
        server = msgscript;
        cli = msgscript;
        default = msgscript;
      });

      overlays.default = final: _prev: {
        msgscript = package final;
        msgscript-server = final.msgscript;
        msgscript-cli = final.msgscript;
      };

      nixosModules.default =
        { lib, pkgs, ... }:
        {
          imports = [ ./nix/module.nix ];
          services.msgscript.package = lib.mkDefault (package pkgs);
        };

      devShells = forAllSystems (pkgs: {
        default = pkgs.mkShell {
          inputsFrom = [ (package pkgs) ];
          packages = [
            pkgs.clippy
            pkgs.rustfmt
            pkgs.nats-server
            pkgs.natscli
            pkgs.etcd
            pkgs.python3
          ];
        };
      });

      checks = forAllSystems (pkgs: {
        package = package pkgs;
        vm = pkgs.callPackage ./nix/vm-test.nix { msgscriptModule = self.nixosModules.default; };
      });

      formatter = forAllSystems (pkgs: pkgs.nixfmt-rfc-style);
    };
}
