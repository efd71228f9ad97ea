"""Files of device tiers: who is in which, and what is refused."""

import json
import os

from absl.testing import absltest, parameterized

from fl.dropout.tier_file import DeviceTier, read_tiers, tier_of_clients
from lingvo_lite.stage.errors import InputError

_PHONE = {"name": "phone", "cohort": 3, "share": 0.75}
_WATCH = {"name": "watch", "cohort": 1, "share": 0.25, "plan": "w/plan.json"}
_SPEAKERS = [f"s{number}" for number in range(8)]


def _listing(*members):
  return [
    DeviceTier(f"tier{number}", 1, speakers=speakers)
    for number, speakers in enumerate(members)
  ]


class TierFileTest(parameterized.TestCase):
  def write(self, *tiers, version=1):
    path = os.path.join(self.create_tempdir().full_path, "tiers.json")
    with open(path, "w", encoding="utf-8") as file:
      json.dump({"schema_version": version, "tiers": list(tiers)}, file)
    return path

  def test_reads_tiers_with_plans_below_the_files_folder(self):
    path = self.write(_PHONE, _WATCH)
    plan = os.path.join(os.path.dirname(path), "w/plan.json")
    self.assertEqual(
      read_tiers(path, 4),
      (
        DeviceTier("phone", 3, share=0.75),
        DeviceTier("watch", 1, plan, share=0.25),
      ),
    )
    path = self.write({"name": "a", "cohort": 2, "speakers": ["x", 7]})
    self.assertEqual(
      read_tiers(path, 2), (DeviceTier("a", 2, speakers=("x", "7")),)
    )

  @parameterized.parameters(
    ([], "one or more"),
    ([{**_PHONE, "cohort": 4}], "shares that add up to 0.75"),
    ([_PHONE, {**_WATCH, "share": "some"}], "share is a number"),
    ([_PHONE, {**_WATCH, "name": "phone"}], "a name of its own"),
    ([_PHONE, {**_WATCH, "cohort": 2}], "5 clients a round.*--cohort=4"),
    ([_PHONE, {**_WATCH, "cohort": 0}], "a cohort of 0"),
    ([_PHONE, {**_WATCH, "cohort": 1.0}], "cohort is a whole number"),
    ([_PHONE, {**_WATCH, "share": 1.5}], "a share of 1.5"),
    ([_PHONE, {**_WATCH, "share": None}], "neither of share and speakers"),
    ([_PHONE, {**_WATCH, "speakers": ["x"]}], "both of share and speakers"),
    ([_PHONE, {"name": "w", "cohort": 1, "speakers": ["x"]}], "one way"),
    ([_PHONE, {**_WATCH, "speakers": "xyz"}], "speakers are a list"),
    ([_PHONE, {**_WATCH, "name": "Old phone"}], "named 'Old phone'"),
    ([_PHONE, {**_WATCH, "keep": 0.5}], "found 'keep' in a tier"),
    ([_PHONE, {"cohort": 1, "share": 0.25}], "without proper tiers.*name"),
    ([_PHONE, "watch"], "without proper tiers"),
  )
  def test_tiers_that_make_no_sense_are_refused(self, tiers, message):
    with self.assertRaisesRegex(InputError, message):
      read_tiers(self.write(*tiers), 4)

  def test_other_files_are_refused(self):
    with self.assertRaisesRegex(InputError, "schema_version 2"):
      read_tiers(self.write(_PHONE, version=2), 3)
    with self.assertRaisesRegex(InputError, "found no file.*device tiers"):
      read_tiers("/nowhere/tiers.json", 3)

  def test_shares_are_of_the_clients_and_drawn_from_the_seed(self):
    tiers = [
      DeviceTier(name, 1, share=share)
      for name, share in (("a", 0.5), ("b", 0.3), ("c", 0.2))
    ]
    drawn = [tier_of_clients(tiers, range(100), seed) for seed in (1, 1, 2)]
    for of_client in drawn:
      self.assertEqual([of_client.count(n) for n in range(3)], [50, 30, 20])
    self.assertEqual(drawn[0], drawn[1])
    self.assertNotEqual(drawn[0], drawn[2])
    # Thirds of eight clients: nobody is lost.
    thirds = [DeviceTier(name, 1, share=1 / 3) for name in "abc"]
    of_client = tier_of_clients(thirds, _SPEAKERS, 0)
    self.assertLen(of_client, 8)
    self.assertEqual(sorted(of_client.count(n) for n in range(3)), [2, 3, 3])

  def test_speakers_are_where_the_file_says(self):
    tiers = _listing(("s1", "s3"), ("s0", "s2"))
    self.assertEqual(tier_of_clients(tiers, _SPEAKERS[:4], 0), (1, 0, 1, 0))

  @parameterized.parameters(
    ((("s0", "s1"), ("s2", "s9")), "the speaker s9 in the tier tier1"),
    ((("s0", "s1"), ("s2", "s1")), "s1 twice, in tier0 and in tier1"),
    ((("s0",), ("s2",)), "the client s1 in none"),
  )
  def test_speakers_in_no_tier_or_two_are_refused(self, members, message):
    with self.assertRaisesRegex(InputError, message):
      tier_of_clients(_listing(*members), _SPEAKERS[:3], 0)

  def test_a_tier_smaller_than_its_cohort_is_refused(self):
    tiers = [
      DeviceTier("a", 1, share=0.9), DeviceTier("rare", 1, share=0.1)
    ]  # fmt: skip
    with self.assertRaisesRegex(InputError, "0 clients in the tier rare"):
      tier_of_clients(tiers, _SPEAKERS[:4], 0)


if __name__ == "__main__":
  absltest.main()
