# As much of nixpkgs' `lib` and of its module system as our module and package use, with the same rules:
# unknown options, wrong types and conflicting values are errors; mkIf, mkMerge, mkDefault and mkForce work at
# any depth. nixpkgs itself cannot be had on a machine without a network.
let
  inherit (builtins)
    all
    any
    attrNames
    attrValues
    concatLists
    concatMap
    concatStringsSep
    elem
    filter
    foldl'
    head
    isAttrs
    isBool
    isFloat
    isFunction
    isInt
    isList
    isPath
    isString
    length
    listToAttrs
    map
    replaceStrings
    stringLength
    substring
    toJSON
    typeOf
    ;

  kind = value: if isAttrs value then value._type or "" else "";
  shown = path: concatStringsSep "." path;
  unique = foldl' (list: one: if elem one list then list else list ++ [ one ]) [ ];
  namesOf = sets: unique (concatMap attrNames sets);

  # A value with properties as plain values with their priorities.
  discharge =
    value:
    if kind value == "merge" then
      concatMap discharge value.contents
    else if kind value == "if" then
      (if value.condition then discharge value.content else [ ])
    else if kind value == "override" then
      map (one: one // { inherit (value) priority; }) (discharge value.content)
    else
      [
        {
          priority = 100;
          inherit value;
        }
      ];

  # The values that count, of definitions with properties.
  strongest =
    definitions:
    let
      found = concatMap discharge definitions;
      least = foldl' (a: b: if b.priority < a then b.priority else a) 10000 found;
    in
    map (one: one.value) (filter (one: one.priority == least) found);

  merge =
    path: type: definitions:
    let
      values = strongest definitions;
      wrong = filter (value: !type.check value) values;
    in
    if wrong != [ ] then
      throw "A definition for option `${shown path}' is not of type `${type.name}': ${typeOf (head wrong)}"
    else
      type.merge path values;

  same =
    path: values:
    if all (value: value == head values) values then
      head values
    else
      throw "The option `${shown path}' has conflicting definition values";

  scalar = name: check: {
    inherit name check;
    merge = same;
  };

  types = rec {
    str = scalar "string" isString;
    bool = scalar "boolean" isBool;
    int = scalar "signed integer" isInt;
    float = scalar "floating point number" isFloat;
    path = scalar "absolute path" (
      value: isPath value || (isString value && substring 0 1 value == "/") || (isAttrs value && value ? outPath)
    );
    package = scalar "package" (value: isAttrs value && value ? outPath);
    port = scalar "16 bit unsigned integer" (value: isInt value && value >= 0 && value < 65536);
    ints.positive = scalar "positive integer" (value: isInt value && value > 0);
    enum = values: scalar "one of ${toJSON values}" (value: elem value values);
    nullOr = type: {
      name = "null or ${type.name}";
      check = value: value == null || type.check value;
      merge = path: values: if all (value: value == null) values then null else type.merge path values;
    };
    either = one: other: {
      name = "${one.name} or ${other.name}";
      check = value: one.check value || other.check value;
      merge = path: values: if all one.check values then one.merge path values else other.merge path values;
    };
    oneOf = list: foldl' either (head list) (builtins.tail list);
    listOf = type: {
      name = "list of ${type.name}";
      check = isList;
      merge = path: values: map (value: merge path type [ value ]) (concatLists values);
    };
    attrsOf = type: {
      name = "attribute set of ${type.name}";
      check = isAttrs;
      merge =
        path: values:
        let
          definitions = name: map (set: set.${name}) (filter (set: set ? ${name}) values);
          present = filter (name: concatMap discharge (definitions name) != [ ]) (namesOf values);
        in
        listToAttrs (
          map (name: {
            inherit name;
            value = merge (path ++ [ name ]) type (definitions name);
          }) present
        );
    };
    # Either free of form or with options, as ours are.
    submodule = module: {
      name = "submodule";
      check = isAttrs;
      merge =
        path: values:
        if module ? freeformType then
          module.freeformType.merge path values
        else
          evalTree path module.options values;
    };
  };

  # Options at this place, and configurations (plain sets of what may have properties).
  evalTree =
    path: options: configs:
    let
      sets = strongestSets configs;
      unknown = filter (name: !(options ? ${name})) (namesOf sets);
      at = name: map (set: set.${name}) (filter (set: set ? ${name}) sets);
      value =
        name:
        let
          option = options.${name};
          here = path ++ [ name ];
          default = if option ? default then [ (mkOverride 1500 option.default) ] else [ ];
          definitions = at name ++ default;
        in
        if kind option != "option" then
          evalTree here option (at name)
        else if concatMap discharge definitions == [ ] then
          throw "The option `${shown here}' was accessed but has no value defined"
        else
          merge here option.type definitions;
    in
    if unknown != [ ] then
      throw "The option `${shown (path ++ [ (head unknown) ])}' does not exist"
    else
      builtins.mapAttrs (name: _: value name) options;

  # Sets out of their properties, which go to each of their attributes: the names in a set must not depend on a
  # condition, as conditions depend on what is configured.
  strongestSets =
    configs:
    let
      into = wrap: config: map (builtins.mapAttrs (_: wrap)) (strongestSets [ config ]);
    in
    concatMap (
      config:
      if kind config == "merge" then
        strongestSets config.contents
      else if kind config == "if" then
        into (mkIf config.condition) config.content
      else if kind config == "override" then
        into (mkOverride config.priority) config.content
      else
        [ config ]
    ) configs;

  mergeOptions =
    sets:
    listToAttrs (
      map (
        name:
        let
          found = map (set: set.${name}) (filter (set: set ? ${name}) sets);
        in
        {
          inherit name;
          value =
            if any (one: kind one == "option") found then
              (if length found == 1 then head found else throw "the option ${name} is declared twice")
            else
              mergeOptions found;
        }
      ) (namesOf sets)
    );

  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  importTOML = path: fromTOML (builtins.readFile path);
  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;

  evalModules =
    { modules, specialArgs }:
    let
      args = specialArgs // {
        inherit config lib;
      };
      load = module: if isFunction module then module args else if isPath module then load (import module) else module;
      gather =
        module:
        let
          loaded = load module;
        in
        [ loaded ] ++ concatMap gather (loaded.imports or [ ]);
      gathered = concatMap gather modules;
      configOf =
        module:
        if module ? config || module ? options then
          module.config or { }
        else
          removeAttrs module [ "imports" ];
      options = mergeOptions (map (module: module.options or { }) gathered);
      config = evalTree [ ] options (map configOf gathered);
    in
    {
      inherit config options;
    };

  lib = {
    inherit
      any
      concatMap
      concatStringsSep
      evalModules
      filter
      hasPrefix
      importTOML
      mkIf
      mkOverride
      types
      ;
    mkOption = option: option // { _type = "option"; };
    mkEnableOption = name: {
      _type = "option";
      type = types.bool;
      default = false;
      description = "Whether to enable ${name}.";
    };
    mkMerge = contents: {
      _type = "merge";
      inherit contents;
    };
    mkDefault = mkOverride 1000;
    mkForce = mkOverride 50;
    literalExpression = text: { inherit text; };
    optional = condition: value: if condition then [ value ] else [ ];
    optionalAttrs = condition: set: if condition then set else { };
    mapAttrsToList = function: set: map (name: function name set.${name}) (attrNames set);
    genAttrs =
      names: function:
      listToAttrs (
        map (name: {
          inherit name;
          value = function name;
        }) names
      );
    escapeShellArgs = list: concatStringsSep " " (map (one: "'${replaceStrings [ "'" ] [ "'\\''" ] "${one}"}'") list);
    getExe = package: "${package}/bin/${package.meta.mainProgram}";
    fileset = {
      unions = list: list;
      # What is left out is not looked at; what is named must be there.
      toSource =
        { root, fileset }:
        if all builtins.pathExists fileset then root else throw "a file of the package's source is missing";
    };
    licenses.asl20.spdxId = "Apache-2.0";
    platforms.linux = [
      "x86_64-linux"
      "aarch64-linux"
    ];
  };
in
lib
