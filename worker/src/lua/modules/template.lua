-- The engines of `template`: objects whose methods are host functions.
local host = ...
local check = host.choose
local methods = { render = host.render, render_file = host.render_file }
template_ud = { __index = methods }

return {
  choose = function(engine)
    local problem = check(engine)
    if problem then return nil, problem end
    return setmetatable({}, template_ud)
  end,
}
