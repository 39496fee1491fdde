--* subject: example.scrape
--* name: scrape

-- Finds titles, links and prices in the page of the payload.
--   nats request example.scrape '<h1>Tea</h1><a href="/buy" title="Buy">now</a><b class="price">3 EUR</b>'

local scrape = require("scrape")
local json = require("json")

function OnMessage(subject, payload)
  local titles = scrape.find_text_by_tag(payload, "h1")
  local links = scrape.find_attrs_by_tag(payload, 2, "href", "title", "a")
  local found = { title = titles[1] or "", links = {}, prices = {} }
  for i, link in links() do
    found.links[i] = link.href .. " " .. link.title
  end
  for i, price in ipairs(scrape.find_text_by_class(payload, "price")) do
    found.prices[i] = price
  end
  return json.encode(found)
end
