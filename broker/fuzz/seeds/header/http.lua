--* subject: funcs.notes
--* name: notes
--* http: true

-- A small web page. In HTTP mode the function named after the request's method answers; it gets the
-- path and query behind the subject, the body, and the request's headers. It returns the body, and if it
-- likes the status (200) and headers (Content-Type: text/html).
--   curl 'http://127.0.0.1:7643/funcs.notes/today?lang=en'
--   curl -i -d 'buy milk' http://127.0.0.1:7643/funcs.notes
--   curl -i -X DELETE http://127.0.0.1:7643/funcs.notes     (405: there is no DELETE here)

local function escape(text)
  return (text:gsub("[&<>\"]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }))
end

function GET(url, body, headers)
  local agent = headers and headers["user-agent"] or "somebody"
  return "<p>You asked for <code>" .. escape(url) .. "</code> with " .. escape(agent) .. ".</p>\n"
end

function POST(url, body)
  if body == "" then
    return "nothing to note\n", 400, { ["Content-Type"] = "text/plain" }
  end
  return "noted: " .. body .. "\n", 201, { ["Content-Type"] = "text/plain", ["X-Length"] = tostring(#body) }
end
