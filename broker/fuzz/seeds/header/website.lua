--* subject: funcs.website
--* name: website
--* http: true
--* require: web

-- A website made with the library in libs/web.lua: pages, a form, an address with a name in it, JSON.
--   curl http://127.0.0.1:7643/funcs.website
--   curl 'http://127.0.0.1:7643/funcs.website/hello/Ann?greeting=Ahoy'
--   curl -i -d 'name=Ann+Bell' http://127.0.0.1:7643/funcs.website/hello
--   curl http://127.0.0.1:7643/funcs.website/api/visitors

local visitors = { { name = "Ann", visits = 3 }, { name = "Bob", visits = 1 } }

local router = Router.new([[
<!doctype html>
<title>{{ header }}</title>
<main>
{{& body }}</main>
<footer>{{ footer }}</footer>
]])

local function page(title)
  return { header = title, footer = "made with msgscript" }
end

router:get("/", function(req)
  return [[
<h1>Visitors</h1>
<ul>
  {{#visitors}}
  <li><a href="/funcs.website/hello/{{name}}">{{name}}</a>: {{visits}}</li>
  {{/visitors}}
</ul>
<form method="post" action="/funcs.website/hello"><input name="name"><button>Greet</button></form>
]], { visitors = visitors }, 200, page("Visitors")
end)

router:get("/hello/<name>", function(req)
  local data = { greeting = req:query("greeting") or "Hello", name = Request.decode(req:path("name")) }
  return "<p>{{greeting}}, {{name}}!</p>\n", data, 200, page("Hello")
end)

router:post("/hello", function(req)
  if not req.form.name or req.form.name == "" then
    return "<p>Who?</p>\n", {}, 400, page("Who?")
  end
  return nil, nil, nil, { redirect = "/funcs.website/hello/" .. req.form.name }
end)

router:get("/api/visitors", function(req)
  return nil, visitors
end)
