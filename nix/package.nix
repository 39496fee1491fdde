# msgscript: the broker, the command line program and the workers of both engines. Needs no network to build:
# Cargo.lock names every dependency by its checksum.
{
  lib,
  rustPlatform,
  protobuf,
  installShellFiles,
  # The commit that --version names.
  commit ? "",
}:

let
  manifest = lib.importTOML ../Cargo.toml;
  packages = [
    "msgscript-broker"
    "msgscript-worker"
    "msgscript-worker-wasm"
  ];
in
rustPlatform.buildRustPackage {
  pname = "msgscript";
  inherit (manifest.workspace.package) version;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      ../.cargo
      # The pages show them.
      ../README.md
      ../docs
      ../proto
      ../worker
      ../broker
      # A member of the workspace, so cargo wants to see it.
      ../tests
    ];
  };

  cargoLock.lockFile = ../Cargo.lock;

  # etcd's client is generated from its protocol's description.
  nativeBuildInputs = [
    protobuf
    installShellFiles
  ];

  env = {
    MSGSCRIPT_COMMIT = commit;
    PROTOC = "${protobuf}/bin/protoc";
  };

  cargoBuildFlags = lib.concatMap (name: [
    "-p"
    name
  ]) packages;

  # The tests want real servers and processes: scripts/test, and the flake's virtual machine.
  doCheck = false;

  # Workers are not for users to start. The broker looks beside itself, then there.
  postInstall = ''
    mkdir -p $out/libexec/msgscript man
    mv $out/bin/msgscript-worker* $out/libexec/msgscript/
    for program in msgscript-broker msgscriptcli; do
      $out/bin/$program man man
      installShellCompletion --cmd $program \
        --bash <($out/bin/$program completion bash) \
        --zsh <($out/bin/$program completion zsh) \
        --fish <($out/bin/$program completion fish)
    done
    installManPage man/*
  '';

  meta = {
    description = "Function server: Lua and WASM scripts in sandboxed processes answer NATS messages and HTTP requests";
    license = lib.licenses.asl20;
    mainProgram = "msgscript-broker";
    platforms = lib.platforms.linux;
  };
}
