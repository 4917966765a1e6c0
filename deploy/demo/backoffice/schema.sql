-- The back office's own tables. Every row carries its tenant, and every key starts with it: there is no way to name a
-- row without saying whose. The checks are a last net below the rules in the code; money is in minor units.

create schema business;
set search_path to business;

-- One row per effect id that was ever presented. `open` holds the highest fence seen for an effect that was not applied.
create table effects (
    effect_id   text primary key,
    tenant      text not null,
    tool        text,  -- this and the next two are empty where only a status query came so far
    request     text,  -- canonical arguments and reason code: an effect id stands for exactly one request
    arguments   text,
    fence       bigint not null,
    state       text not null default 'open' check (state in ('open', 'applied', 'refused')),
    correlation text,
    result      text,
    reason      text,
    status      int,
    at          timestamptz not null default clock_timestamp(),
    check ((state = 'applied') = (result is not null)),
    check ((state = 'refused') = (reason is not null))
);

create table users (
    tenant text, id text, name text not null, email text not null, phone text not null, address text not null,
    country text not null, payment_token text not null, banned_until timestamptz, registered_at timestamptz not null,
    closed_at timestamptz,
    primary key (tenant, id)
);

create table sessions (
    tenant text, id text, user_id text not null, device text not null, ip text not null,
    started_at timestamptz not null, last_seen_at timestamptz not null, ended_at timestamptz,
    primary key (tenant, id), foreign key (tenant, user_id) references users
);
create index on sessions (tenant, user_id);

create table push_tokens (
    tenant text, id text, user_id text not null, platform text not null, token text not null, revoked_at timestamptz,
    primary key (tenant, id), foreign key (tenant, user_id) references users
);
create index on push_tokens (tenant, user_id);

create table content (
    tenant text, id text, author_id text not null, kind text not null, title text not null, body text not null,
    views bigint not null, reports int not null, created_at timestamptz not null, removed_at timestamptz,
    removed_reason text,
    primary key (tenant, id), foreign key (tenant, author_id) references users
);
create index on content (tenant, author_id);

create table frictions (
    tenant text, target text, friction_type text not null, expires_at timestamptz not null,
    applied_at timestamptz not null, effect_id text not null,
    primary key (tenant, target), foreign key (tenant, target) references users
);

create table bans (
    tenant text, id text, user_id text not null, duration_days int not null, reason_code text not null,
    starts_at timestamptz not null, ends_at timestamptz not null, lifted_at timestamptz,
    primary key (tenant, id), foreign key (tenant, user_id) references users
);
create index on bans (tenant, user_id);

create table appeals (
    tenant text, id text, user_id text not null, ban_id text, content_id text, statement text not null,
    first_decider text not null, opened_at timestamptz not null, resolution text, resolved_at timestamptz,
    primary key (tenant, id), foreign key (tenant, user_id) references users,
    check ((resolution is null) = (resolved_at is null)), check ((ban_id is null) <> (content_id is null))
);

create table queues (
    tenant text, id text, title text not null, workers int not null,
    primary key (tenant, id)
);

create table queue_items (
    tenant text, id text, queue text not null, subject text not null, enqueued_at timestamptz not null,
    done_at timestamptz,
    primary key (tenant, id), foreign key (tenant, queue) references queues
);
create index on queue_items (tenant, queue);

create table dashboards (
    tenant text, id text, title text not null, primary key (tenant, id)
);

create table flags (
    tenant text, id text, description text not null, value boolean not null,
    rollout_percent int not null check (rollout_percent between 0 and 100), changed_at timestamptz not null,
    primary key (tenant, id)
);

-- Who would ever see a flag: the population over which its percentage is counted.
create table flag_audience (
    tenant text, flag_key text, user_id text,
    primary key (tenant, flag_key, user_id), foreign key (tenant, flag_key) references flags,
    foreign key (tenant, user_id) references users
);

create table endpoints (
    tenant text, service text, route text, baseline_per_second int not null check (baseline_per_second > 0),
    limit_per_second int not null check (limit_per_second > 0), changed_at timestamptz not null,
    primary key (tenant, service, route)
);

create table suppliers (
    tenant text, id text, name text not null, contact_name text not null, email text not null, phone text not null,
    address text not null, lead_days int not null,
    primary key (tenant, id)
);

create table products (
    tenant text, id text, sku text not null, title text not null, price_cents bigint not null check (price_cents > 0),
    unit_cost_cents bigint not null check (unit_cost_cents > 0), preflight_passed boolean not null,
    preflight_findings text not null default '',
    primary key (tenant, id), unique (tenant, sku)
);

create table stock (
    tenant text, sku text, on_hand int not null check (on_hand >= 0), incoming int not null check (incoming >= 0),
    primary key (tenant, sku), foreign key (tenant, sku) references products (tenant, sku)
);

-- Who supplies what. Every supplier sells at the product's unit cost: the price that the business has agreed.
create table offers (
    tenant text, sku text, supplier_id text, quantity_min int not null check (quantity_min > 0),
    primary key (tenant, sku, supplier_id), foreign key (tenant, supplier_id) references suppliers
);

create table purchase_orders (
    tenant text, id text, sku text not null, supplier_id text not null, quantity int not null check (quantity > 0),
    cost_cents bigint not null, ordered_at timestamptz not null, effect_id text not null,
    primary key (tenant, id), foreign key (tenant, supplier_id) references suppliers
);

create table listings (
    tenant text, id text, product_id text not null, channel text not null, title text not null, body text not null,
    is_published boolean not null, orders int not null default 0, changed_at timestamptz not null,
    primary key (tenant, id), unique (tenant, product_id, channel), foreign key (tenant, product_id) references products
);

create table banned_claims (tenant text, phrase text, primary key (tenant, phrase));

create table orders (
    tenant text, id text, user_id text not null,
    status text not null check (status in ('paid', 'shipped', 'delivered', 'cancelled')),
    paid_cents bigint not null check (paid_cents >= 0), refunded_cents bigint not null default 0,
    placed_at timestamptz not null, ship_to text not null,
    primary key (tenant, id), foreign key (tenant, user_id) references users,
    check (refunded_cents between 0 and paid_cents)
);
create index on orders (tenant, user_id);

create table order_lines (
    tenant text, order_id text, line int, product_id text not null, quantity int not null, price_cents bigint not null,
    primary key (tenant, order_id, line), foreign key (tenant, order_id) references orders
);

create table payments (
    tenant text, id text, order_id text not null, amount_cents bigint not null, method text not null,
    card_last4 text not null, paid_at timestamptz not null,
    primary key (tenant, id), foreign key (tenant, order_id) references orders
);
create index on payments (tenant, order_id);

create table refunds (
    tenant text, id text, order_id text not null, amount_cents bigint not null check (amount_cents > 0),
    reason_code text not null, refunded_at timestamptz not null, effect_id text,
    primary key (tenant, id), foreign key (tenant, order_id) references orders
);
create index on refunds (tenant, order_id);

create table ad_sets (
    tenant text, id text, name text not null, channel text not null,
    daily_budget_cents bigint not null check (daily_budget_cents >= 0), margin_bp int not null,
    changed_at timestamptz not null,
    primary key (tenant, id)
);

create table spend (
    tenant text, ad_set_id text, day date, cents bigint not null check (cents >= 0), revenue_cents bigint not null,
    primary key (tenant, ad_set_id, day), foreign key (tenant, ad_set_id) references ad_sets
);

create table invoices (
    tenant text, id text, supplier_id text not null, number text not null, amount_cents bigint not null,
    paid_cents bigint not null default 0, due_on date not null,
    primary key (tenant, id), foreign key (tenant, supplier_id) references suppliers,
    check (paid_cents between 0 and amount_cents)
);

create table supplier_payments (
    tenant text, id text, invoice_id text not null, amount_cents bigint not null check (amount_cents > 0),
    reason_code text not null, paid_at timestamptz not null, effect_id text not null,
    primary key (tenant, id), foreign key (tenant, invoice_id) references invoices
);

-- Creators are paid from money that the payment provider holds for them, not from the business's own cash.
create table creators (
    tenant text, id text, user_id text not null, handle text not null, balance_cents bigint not null,
    held_cents bigint not null check (held_cents >= 0), payout_account text not null,
    primary key (tenant, id), foreign key (tenant, user_id) references users, check (balance_cents >= held_cents)
);

create table payouts (
    tenant text, id text, creator_id text not null, amount_cents bigint not null check (amount_cents > 0),
    paid_at timestamptz not null, effect_id text not null,
    primary key (tenant, id), foreign key (tenant, creator_id) references creators
);

create table cash (
    tenant text, id text, balance_cents bigint not null, daily_burn_cents bigint not null check (daily_burn_cents > 0),
    primary key (tenant, id)
);

create table cash_movements (
    tenant text, id bigint generated always as identity, account text not null, amount_cents bigint not null,
    cause text not null, effect_id text not null, at timestamptz not null,
    primary key (tenant, id), foreign key (tenant, account) references cash
);
