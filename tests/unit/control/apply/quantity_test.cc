#include "control/apply/quantity.h"

#include <gtest/gtest.h>

namespace understudy::control {
namespace {

TEST(QuantityTest, IsReadAsKubernetesWritesIt) {
  EXPECT_EQ(ParseQuantity("0"), 0);
  EXPECT_EQ(ParseQuantity("10Gi"), 10.0 * 1024 * 1024 * 1024);
  EXPECT_EQ(ParseQuantity("1.5Ki"), 1536);
  EXPECT_EQ(ParseQuantity("1500M"), 1.5e9);
  EXPECT_EQ(ParseQuantity("2e9"), 2e9);
  EXPECT_EQ(ParseQuantity("2E9"), 2e9);
  EXPECT_EQ(ParseQuantity("2E"), 2e18);
  EXPECT_EQ(ParseQuantity("2Ei"), 2.0 * 1024 * 1024 * 1024 * 1024 * 1024 * 1024);
  EXPECT_EQ(ParseQuantity("500m"), 0.5);
  EXPECT_GT(*ParseQuantity("1Gi"), *ParseQuantity("1G"));
}

TEST(QuantityTest, NothingElseIs) {
  for (const char* text : {"", "Gi", "x", "1 Gi", "1gi", "1Zi", "inf", "nan", "0x10", "1G1"}) {
    EXPECT_FALSE(ParseQuantity(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace understudy::control
