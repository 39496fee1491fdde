# services.msgscript: the options of the Go server's module by their names, and what is new.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  inherit (lib)
    mkDefault
    mkIf
    mkOption
    optionalAttrs
    types
    ;

  cfg = config.services.msgscript;
  toml = pkgs.formats.toml { };

  ownDataDir = "/var/lib/msgscript";
  # Where systemd makes the data folder, those below it are made too.
  isState = cfg.dataDir == ownDataDir;
  isBelow = folder: path: lib.hasPrefix "${folder}/" "${path}/";
  scriptFolders = [
    "${cfg.scriptDir}"
    "${cfg.libraryDir}"
  ];
  atHome = lib.any (
    path: isBelow "/home" path || isBelow "/root" path || isBelow "/run/user" path
  ) scriptFolders;

  # Modules lie at the top (as the Go server's did), or where nixpkgs' Lua packages have them.
  pluginDir = pkgs.runCommandLocal "msgscript-plugins" { } ''
    mkdir $out
    for plugin in ${lib.escapeShellArgs cfg.plugins}; do
      for file in $plugin/*.so $plugin/lib/lua/5.1/*.so; do
        if [ -e "$file" ]; then ln -s "$file" $out/; fi
      done
    done
  '';

  tenants = lib.mapAttrsToList (name: tenant: { inherit name; } // tenant) cfg.tenants;
  configFile = toml.generate "msgscript.toml" (
    cfg.settings // optionalAttrs (tenants != [ ]) { tenant = (cfg.settings.tenant or [ ]) ++ tenants; }
  );
in
{
  options.services.msgscript = {
    enable = lib.mkEnableOption "msgscript, a function server for NATS and HTTP";

    package = mkOption {
      type = types.package;
      default = pkgs.msgscript or (pkgs.callPackage ./package.nix { });
      defaultText = lib.literalExpression "pkgs.msgscript";
      description = "The package to use.";
    };

    backend = mkOption {
      type = types.enum [
        "etcd"
        "file"
      ];
      default = "file";
      description = "Where scripts are kept.";
    };

    etcdEndpoints = mkOption {
      type = types.listOf types.str;
      default = [ "http://127.0.0.1:2379" ];
      description = "Endpoints of etcd.";
    };

    plugins = mkOption {
      type = types.listOf types.package;
      default = [ ];
      example = lib.literalExpression "[ pkgs.luajitPackages.lpeg ]";
      description = "Packages with Lua 5.1 C modules that scripts may require.";
    };

    natsUrl = mkOption {
      type = types.str;
      default = "";
      example = "nats://127.0.0.1:4222";
      description = ''
        URL of the NATS server. Without one the broker runs its own, on 127.0.0.1:4222. A password does not
        belong here, as everybody may read the Nix store: set `NATS_URL` in {option}`environmentFile`.
      '';
    };

    dataDir = mkOption {
      type = types.str;
      default = ownDataDir;
      description = ''
        Folder of the server's own files, which it owns. Scripts do not see it: their `io` works on a folder in
        memory.
      '';
    };

    scriptDir = mkOption {
      type = types.either types.path types.str;
      default = "${cfg.dataDir}/scripts";
      defaultText = lib.literalExpression ''"''${dataDir}/scripts"'';
      example = lib.literalExpression "./functions";
      description = ''
        Folder of scripts. May be a folder of this configuration, or any folder of links into the Nix store
        (`pkgs.linkFarm`, `environment.etc`).
      '';
    };

    libraryDir = mkOption {
      type = types.either types.path types.str;
      default = "${cfg.dataDir}/libs";
      defaultText = lib.literalExpression ''"''${dataDir}/libs"'';
      description = "Folder of libraries; as {option}`scriptDir`.";
    };

    extraPathPackages = mkOption {
      type = types.listOf types.package;
      default = [ ];
      description = "Packages for the PATH of commands, where scripts may run any (`allow = [ \"cmd\" ]`).";
    };

    user = mkOption {
      type = types.str;
      default = "msgscript";
      description = "User of the service. One of another name must exist.";
    };

    group = mkOption {
      type = types.str;
      default = "msgscript";
      description = "Group of the service. One of another name must exist.";
    };

    enableTelemetry = mkOption {
      type = types.bool;
      default = false;
      description = "Whether to export traces by OpenTelemetry.";
    };

    otelEndpoint = mkOption {
      type = types.str;
      default = "localhost:4317";
      description = "The collector of traces, `host:port` or a URL.";
    };

    workers = mkOption {
      type = types.nullOr types.ints.positive;
      default = null;
      description = "Number of workers; null: the number of CPUs.";
    };

    settings = mkOption {
      type = types.submodule { freeformType = toml.type; };
      default = { };
      example = {
        broker.timeout = "30s";
        broker.bind = "127.0.0.1";
      };
      description = ''
        The configuration file; see the README. It is in the Nix store, for everybody to read: name secrets by
        file or environment variable.
      '';
    };

    tenants = mkOption {
      type = types.attrsOf (types.submodule { freeformType = toml.type; });
      default = { };
      example = {
        acme = {
          subjects = [ "acme.>" ];
          scripts = "acme";
          limits.wall = "10s";
          grants.http = [ "https://api.example.com" ];
        };
      };
      description = "Tenants by name, each as a `[[tenant]]` of the configuration file.";
    };

    environmentFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = "/run/secrets/msgscript.env";
      description = "File with environment variables for the service, such as `NATS_URL` with a password.";
    };

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = "Whether to open the HTTP port in the firewall.";
    };
  };

  config = mkIf cfg.enable {
    services.msgscript.settings.broker = {
      backend = mkDefault cfg.backend;
      etcdurl = mkDefault (lib.concatStringsSep "," cfg.etcdEndpoints);
      script = mkDefault "${cfg.scriptDir}";
      library = mkDefault "${cfg.libraryDir}";
      port = mkDefault 7643;
    }
    // optionalAttrs (cfg.natsUrl != "") { natsurl = mkDefault cfg.natsUrl; }
    // optionalAttrs (cfg.plugins != [ ]) { plugin = mkDefault "${pluginDir}"; }
    // optionalAttrs (cfg.workers != null) { workers = mkDefault cfg.workers; }
    // optionalAttrs (!isState) { state-dir = mkDefault cfg.dataDir; };

    environment.systemPackages = [ cfg.package ];

    networking.firewall.allowedTCPPorts = mkIf cfg.openFirewall [ cfg.settings.broker.port ];

    # A data folder of another name is made here, as systemd makes only those below /var/lib.
    systemd.tmpfiles.rules = mkIf (!isState) (
      map (folder: "d ${folder} 0750 ${cfg.user} ${cfg.group} -") (
        [ cfg.dataDir ] ++ lib.filter (isBelow cfg.dataDir) scriptFolders
      )
    );

    # The same as scripts/dist/msgscript.service, which has the reasons; scripts/check-nix compares them.
    systemd.services.msgscript = {
      description = "msgscript function server";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [
        "network-online.target"
        "nats.service"
        "nats-server.service"
        "etcd.service"
      ];
      path = cfg.extraPathPackages;

      environment = optionalAttrs cfg.enableTelemetry {
        TELEMETRY_TRACES = "1";
        OTEL_ENDPOINT = cfg.otelEndpoint;
      };

      serviceConfig = {
        Type = "notify";
        ExecStart = "${lib.getExe cfg.package} --config ${configFile}";
        ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
        User = cfg.user;
        Group = cfg.group;
        WorkingDirectory = cfg.dataDir;
        UMask = "0077";

        Restart = "always";
        RestartSec = 1;
        RestartPreventExitStatus = [
          64
          78
        ];
        WatchdogSec = 30;
        KillMode = "mixed";
        TimeoutStopSec = 60;
        OOMPolicy = "continue";
        TasksMax = 4096;
        Delegate = [
          "cpu"
          "memory"
          "pids"
        ];

        NoNewPrivileges = true;
        CapabilityBoundingSet = "";
        AmbientCapabilities = "";
        ProtectSystem = "strict";
        ProtectHome = if atHome then "read-only" else true;
        ProtectHostname = true;
        ProtectClock = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectControlGroups = false;
        PrivateTmp = true;
        PrivateDevices = true;
        PrivateUsers = true;
        DevicePolicy = "closed";
        RemoveIPC = true;
        LockPersonality = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        RestrictNamespaces = true;
        RestrictAddressFamilies = [
          "AF_UNIX"
          "AF_INET"
          "AF_INET6"
        ];
        SystemCallArchitectures = "native";
        SystemCallFilter = [
          "@system-service"
          "~@privileged @resources @obsolete @keyring @aio"
          "landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp capset"
        ];
        SystemCallErrorNumber = "EPERM";
      }
      // optionalAttrs (cfg.environmentFile != null) { EnvironmentFile = cfg.environmentFile; }
      // optionalAttrs isState {
        StateDirectory = [
          "msgscript"
          "msgscript/scripts"
          "msgscript/libs"
        ];
        StateDirectoryMode = "0750";
      }
      // optionalAttrs (!isState) { ReadWritePaths = [ cfg.dataDir ]; };
    };

    users.users = mkIf (cfg.user == "msgscript") {
      msgscript = {
        inherit (cfg) group;
        isSystemUser = true;
        home = cfg.dataDir;
      };
    };

    users.groups = mkIf (cfg.group == "msgscript") { msgscript = { }; };
  };
}
