"""Money that leaves: refunds, supplier payments, payouts and stock orders.

The row that bounds the amount is locked before it is read, so that parallel operations on it queue up; cash is locked
last, always, so that two operations never wait for each other.
"""

from __future__ import annotations

from typing import Any

from deploy.demo.backoffice.effects import Change, Refusal


async def issue_refund(change: Change) -> dict[str, Any]:
    """Pay back part of an order; never more than was paid and not yet given back."""
    order_id, amount_cents = change.take(order_id=str, amount_cents=int)
    _expect_positive(amount_cents)
    order = await change.row(
        "select paid_cents, refunded_cents from orders where tenant = %s and id = %s for update",
        change.tenant,
        order_id,
    )
    if order is None:
        raise Refusal("unknown_order", status=422)
    if amount_cents > order["paid_cents"] - order["refunded_cents"]:
        raise Refusal("refund_above_paid")

    refunded_cents = order["refunded_cents"] + amount_cents
    refund_id = change.new_id("ref")
    await change.do(
        "with moved as (update orders set refunded_cents = %s where tenant = %s and id = %s)"
        " insert into refunds (tenant, id, order_id, amount_cents, reason_code, refunded_at, effect_id)"
        " values (%s, %s, %s, %s, %s, %s, %s)",
        *(refunded_cents, change.tenant, order_id),
        *(change.tenant, refund_id, order_id, amount_cents, change.reason_code, change.at, change.effect_id),
    )
    return {
        "refund_id": refund_id,
        "order_id": order_id,
        "amount_cents": amount_cents,
        "refunded_cents": refunded_cents,
    }


async def pay_supplier(change: Change) -> dict[str, Any]:
    """Pay on an invoice; never more than is open."""
    invoice_id, amount_cents = change.take(invoice_id=str, amount_cents=int)
    _expect_positive(amount_cents)
    invoice = await change.row(
        "select amount_cents - paid_cents as open_cents from invoices where tenant = %s and id = %s for update",
        change.tenant,
        invoice_id,
    )
    if invoice is None:
        raise Refusal("unknown_invoice", status=422)
    if amount_cents > invoice["open_cents"]:
        raise Refusal("payment_above_open")

    payment_id = change.new_id("pay")
    await change.do(
        "with moved as (update invoices set paid_cents = paid_cents + %s where tenant = %s and id = %s)"
        " insert into supplier_payments (tenant, id, invoice_id, amount_cents, reason_code, paid_at, effect_id)"
        " values (%s, %s, %s, %s, %s, %s, %s)",
        *(amount_cents, change.tenant, invoice_id),
        *(change.tenant, payment_id, invoice_id, amount_cents, change.reason_code, change.at, change.effect_id),
    )
    await _take_cash(change, amount_cents, cause=payment_id)
    return {
        "payment_id": payment_id,
        "invoice_id": invoice_id,
        "amount_cents": amount_cents,
        "open_cents": invoice["open_cents"] - amount_cents,
    }


async def release_payout(change: Change) -> dict[str, Any]:
    """Pay a creator from the part of the balance that is no longer held."""
    creator_id, amount_cents = change.take(creator_id=str, amount_cents=int)
    _expect_positive(amount_cents)
    creator = await change.row(
        "select balance_cents - held_cents as eligible_cents from creators where tenant = %s and id = %s for update",
        change.tenant,
        creator_id,
    )
    if creator is None:
        raise Refusal("unknown_creator", status=422)
    if amount_cents > creator["eligible_cents"]:
        raise Refusal("payout_above_eligible")

    payout_id = change.new_id("pyt")
    await change.do(
        "with moved as (update creators set balance_cents = balance_cents - %s where tenant = %s and id = %s)"
        " insert into payouts (tenant, id, creator_id, amount_cents, paid_at, effect_id)"
        " values (%s, %s, %s, %s, %s, %s)",
        *(amount_cents, change.tenant, creator_id),
        *(change.tenant, payout_id, creator_id, amount_cents, change.at, change.effect_id),
    )
    return {
        "payout_id": payout_id,
        "creator_id": creator_id,
        "amount_cents": amount_cents,
        "eligible_cents": creator["eligible_cents"] - amount_cents,
    }


async def reorder_stock(change: Change) -> dict[str, Any]:
    """Order an article from a supplier who offers it, at the product's unit cost, paid in advance."""
    sku, quantity, supplier_id = change.take(sku=str, quantity=int, supplier_id=str)
    _expect_positive(quantity)
    product = await change.row(
        "select unit_cost_cents from products join stock using (tenant, sku)"
        " where tenant = %s and sku = %s for update of stock",
        change.tenant,
        sku,
    )
    if product is None:
        raise Refusal("unknown_sku", status=422)
    if await change.row("select 1 from suppliers where tenant = %s and id = %s", change.tenant, supplier_id) is None:
        raise Refusal("unknown_supplier", status=422)
    offer = await change.row(
        "select quantity_min from offers where tenant = %s and sku = %s and supplier_id = %s",
        *(change.tenant, sku, supplier_id),
    )
    if offer is None:
        raise Refusal("not_offered")
    if quantity < offer["quantity_min"]:
        raise Refusal("quantity_below_minimum")

    cost_cents = quantity * product["unit_cost_cents"]
    purchase_order_id = change.new_id("po")
    await change.do(
        "with moved as (update stock set incoming = incoming + %s where tenant = %s and sku = %s)"
        " insert into purchase_orders (tenant, id, sku, supplier_id, quantity, cost_cents, ordered_at, effect_id)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s)",
        *(quantity, change.tenant, sku),
        *(change.tenant, purchase_order_id, sku, supplier_id, quantity, cost_cents, change.at, change.effect_id),
    )
    await _take_cash(change, cost_cents, cause=purchase_order_id)
    return {"purchase_order_id": purchase_order_id, "sku": sku, "quantity": quantity, "cost_cents": cost_cents}


async def _take_cash(change: Change, amount_cents: int, *, cause: str) -> None:
    taken = await change.do(
        "update cash set balance_cents = balance_cents - %s where tenant = %s and id = 'main' and balance_cents >= %s",
        *(amount_cents, change.tenant, amount_cents),
    )
    if not taken:
        raise Refusal("cash_short")
    await change.do(
        "insert into cash_movements (tenant, account, amount_cents, cause, effect_id, at)"
        " values (%s, 'main', %s, %s, %s, %s)",
        *(change.tenant, -amount_cents, cause, change.effect_id, change.at),
    )


def _expect_positive(number: int) -> None:
    if number <= 0:
        raise Refusal("amount_not_positive", status=422)
