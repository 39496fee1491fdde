# What the module makes of a configuration (a file), and what package and flake say: for scripts/check-nix.
{
  settings ? { },
}:

let
  lib = import ./lib.nix;
  pkgs = import ./pkgs.nix;
  inherit (lib) mkOption types;

  option = type: mkOption { inherit type; };
  optionOr = type: default: mkOption { inherit type default; };
  scalar = types.oneOf [
    types.str
    types.int
    types.bool
    types.path
    (types.listOf (types.either types.str types.int))
  ];

  # What NixOS itself declares, of what the module sets.
  nixos.options = {
    environment.systemPackages = optionOr (types.listOf types.package) [ ];
    networking.firewall.allowedTCPPorts = optionOr (types.listOf types.port) [ ];
    systemd.tmpfiles.rules = optionOr (types.listOf types.str) [ ];
    systemd.services = optionOr (types.attrsOf (
      types.submodule {
        options = {
          description = option types.str;
          wantedBy = optionOr (types.listOf types.str) [ ];
          wants = optionOr (types.listOf types.str) [ ];
          after = optionOr (types.listOf types.str) [ ];
          path = optionOr (types.listOf types.package) [ ];
          environment = optionOr (types.attrsOf types.str) { };
          serviceConfig = optionOr (types.attrsOf scalar) { };
        };
      }
    )) { };
    users.users = optionOr (types.attrsOf (
      types.submodule {
        options = {
          group = option types.str;
          isSystemUser = optionOr types.bool false;
          home = optionOr types.str "/var/empty";
        };
      }
    )) { };
    users.groups = optionOr (types.attrsOf (types.submodule { options = { }; })) { };
  };

  flake = (import ../../flake.nix).outputs {
    self = flake // {
      shortRev = "0123abc";
    };
    nixpkgs = {
      inherit lib;
      legacyPackages = {
        x86_64-linux = pkgs;
        aarch64-linux = pkgs;
      };
    };
  };

  inherit
    (lib.evalModules {
      modules = [
        nixos
        flake.nixosModules.default
        { services.msgscript = settings; }
      ];
      specialArgs = { inherit pkgs; };
    })
    config
    options
    ;

  overlaid = pkgs // flake.overlays.default overlaid { };

  service = config.systemd.services.msgscript;
  file = builtins.head (builtins.match ".* --config ([^ ]+)" service.serviceConfig.ExecStart);
in
{
  module = {
    unit = service;
    configFile = file;
    ports = config.networking.firewall.allowedTCPPorts;
    rules = config.systemd.tmpfiles.rules;
    inherit (config.users) users groups;
  };
  disabled = config.systemd.services;
  options = builtins.mapAttrs (_: option: option ? description || option ? type) options.services.msgscript;
  flake = {
    packages = builtins.mapAttrs (_: builtins.mapAttrs (_: one: one.outPath)) flake.packages;
    shells = builtins.mapAttrs (_: builtins.mapAttrs (_: one: one.outPath)) flake.devShells;
    checks = builtins.mapAttrs (_: builtins.mapAttrs (_: one: one.outPath)) flake.checks;
    overlay = overlaid.msgscript-server.outPath;
    inherit (flake.packages.x86_64-linux.default) version cargoBuildFlags env;
    commands = flake.packages.x86_64-linux.default.postInstall;
    node = builtins.attrNames flake.checks.x86_64-linux.vm.test.nodes;
    # The machine's own module has to fit the service's options.
    machine = (flake.checks.x86_64-linux.vm.test.nodes.server { pkgs = pkgs // { linuxPackages_latest = null; }; }).services.msgscript;
  };
}
