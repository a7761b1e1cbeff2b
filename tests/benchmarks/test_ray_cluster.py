"""What the page reckons follows from what was measured."""

import pytest
from ray_cluster import BEGIN, END, PAGE, RESULT, limits_of, read_results, with_tables

PRICE = {
    "seconds_to_decode": 0.02,
    "seconds_to_compute": 0.07,
    "seconds_to_finish": 0.01,
    "bytes_read": 900_000.0,
    "bytes_of_a_mask": 100_000.0,
}


def test_without_a_gpu_cores_compute_too_and_ray_takes_its_share() -> None:
    limits = limits_of(PRICE, 1.25, cores=16, gpu_rate=0, gigabits=8)
    assert limits == {"network": pytest.approx(1000), "cores": pytest.approx(128)}


def test_beside_a_gpu_cores_only_decode_and_finish() -> None:
    limits = limits_of(PRICE, 1.0, cores=16, gpu_rate=200, gigabits=8)
    assert limits == {"network": pytest.approx(1000), "cores": pytest.approx(16 / 0.03), "GPU": 200}


def test_the_page_holds_the_tables_of_the_results() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_tables(page, read_results(RESULT))


def test_the_tables_say_what_is_full_first() -> None:
    known = {"price": PRICE, "overhead": {"ray_to_plain": {"seconds_of_the_last_three_quarters": 1.0}}}
    page = with_tables(f"before\n{BEGIN}\nold\n{END}\nafter\n", known)
    assert page.startswith(f"before\n{BEGIN}\n| a picture")
    assert page.endswith(f"|\n{END}\nafter\n")
    # 16 cores compute 160 pictures a second, which are 100 million in 7.2 days; the network would carry 1,250.
    assert "| 16 cores, 10 Gbit/s | 160 | 7.2 | 2,778 | cores | network, at 1,250/s |" in page
    assert (
        "| 16 cores and a GPU, 10 Gbit/s, GPUs of 1000 pictures/s | 533 | 2.2 | 833 | cores | GPU, at 1,000/s |" in page
    )
