# As much of nixpkgs' packages as ours and the module use: places that look like the store's, and a TOML writer
# whose files are real.
let
  lib = import ./lib.nix;
  inherit (builtins)
    attrNames
    concatStringsSep
    isAttrs
    isFunction
    isList
    toFile
    toJSON
    ;

  place = name: {
    outPath = "/nix/store/00000000000000000000000000000000-${name}";
    inherit name;
  };

  # A value on one line: strings, numbers and booleans are written as in JSON.
  inline =
    value:
    if isList value then
      "[${concatStringsSep ", " (map inline value)}]"
    else if isAttrs value then
      "{ ${concatStringsSep ", " (map (key: "${toJSON key} = ${inline value.${key}}") (attrNames value))} }"
    else
      toJSON value;

  tomlType =
    let
      inherit (lib) types;
      value =
        types.oneOf [
          types.bool
          types.int
          types.float
          types.str
          types.path
          (types.attrsOf value)
          (types.listOf value)
        ]
        // {
          name = "TOML value";
        };
    in
    types.attrsOf value;

  callPackage =
    function: overrides:
    let
      loaded = if isFunction function then function else import function;
      wanted = builtins.functionArgs loaded;
      given = builtins.intersectAttrs wanted pkgs;
    in
    loaded (given // overrides);

  pkgs = {
    inherit lib callPackage;
    coreutils = place "coreutils";
    protobuf = place "protobuf";
    installShellFiles = place "install-shell-files";
    clippy = place "clippy";
    rustfmt = place "rustfmt";
    nats-server = place "nats-server";
    natscli = place "natscli";
    jq = place "jq";
    etcd = place "etcd";
    python3 = place "python3";
    nixfmt-rfc-style = place "nixfmt";
    runCommandLocal = name: _: script: place name // { inherit script; };
    linkFarm = name: entries: place name // { inherit entries; };
    mkShell = shell: place "shell" // { inherit shell; };
    rustPlatform.buildRustPackage = package: place "${package.pname}-${package.version}" // package;
    testers.runNixOSTest = test: place "vm-test-${test.name}" // { inherit test; };
    formats.toml = _: {
      type = tomlType;
      generate = name: value: toFile name (concatStringsSep "\n" (map (key: "${toJSON key} = ${inline value.${key}}") (attrNames value)));
    };
  };
in
pkgs
