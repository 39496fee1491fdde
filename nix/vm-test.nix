# A virtual machine with the module: messages are answered over HTTP and NATS, every escape is tried from inside
# real workers, and the service comes back when it is killed.
{
  testers,
  linkFarm,
  msgscriptModule,
}:

testers.runNixOSTest {
  name = "msgscript";

  nodes.server =
    { pkgs, ... }:
    {
      imports = [ msgscriptModule ];
      # Landlock's signals and abstract sockets came with Linux 6.12.
      boot.kernelPackages = pkgs.linuxPackages_latest;
      environment.systemPackages = [
        pkgs.jq
        pkgs.natscli
      ];
      services.msgscript = {
        enable = true;
        workers = 2;
        openFirewall = true;
        settings.broker.timeout = "2s";
        # Each script a link into the store.
        scriptDir = linkFarm "functions" {
          "hello.lua" = ../examples/hello.lua;
          "fail.lua" = ../examples/fail.lua;
        };
      };
    };

  testScript = ''
    server.wait_for_unit("msgscript.service")
    server.wait_for_open_port(7643)
    ask = "curl -sf -X POST -d John http://127.0.0.1:7643/funcs.hello | jq -r .hello.payload | base64 -d"
    natively = "nats -s nats://127.0.0.1:4222 request --raw funcs.hello John"

    with subtest("messages are answered"):
        assert server.succeed(ask).strip() == "Hello, John!"
        assert "Hello, John!" in server.succeed(natively)

    with subtest("hostile scripts cost themselves only"):
        for how in ["loop", "memory", "escape"]:
            server.fail(f"curl -sf -X POST -d {how} http://127.0.0.1:7643/funcs.fail")
        assert server.succeed(ask).strip() == "Hello, John!"

    with subtest("no escape gets through"):
        # As the service's own user, under the service's own restrictions.
        server.succeed(
            "systemd-run --wait --pipe -p User=msgscript -p NoNewPrivileges=yes msgscript-broker doctor >&2"
        )

    with subtest("it comes back"):
        server.succeed("systemctl kill -s KILL msgscript")
        server.wait_until_succeeds(f"{ask} | grep John")

    with subtest("the unit is tight"):
        server.succeed("systemd-analyze security --threshold=20 msgscript.service")
  '';
}
